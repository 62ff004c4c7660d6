"""results.json: one schema for every script, documented in the README."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from helper.machine import versions

from attacks.attack import AttackSettings
from helper.errors import UserError
from helper.processes import Processes
from masks.counting import describe_relus
from models.layers import Network
from reporting.tables import METRICS

SCHEMA = "rlnet-results-2"


def base_results(
    script: str,
    record: Mapping[str, object],
    processes: Processes,
    model: Network,
    *,
    model_name: str,
    dataset: str,
    branches: Sequence[int],
    attack: AttackSettings | None,
    accuracy: dict,
    seconds: float,
) -> dict:
    """What every script reports. `record`: its options, as `plain_arguments` has them.

    `accuracy` is {'images', 'CA': {branch: %}, 'AdvA': {branch: %}, ...}.

    `oracle` is the published protocol, in which somebody who knows which images are attacked picks the branch;
    `single_branch` gives the same weights without that knowledge: the branch whose metrics have the best mean.
    """
    return {
        "schema": SCHEMA,
        "script": script,
        "model": model_name,
        "dataset": dataset,
        "image_size": model.spec.image_size,
        "branches": model.spec.branches,
        "trained_branches": list(branches),
        "attack": attack.record() if attack else None,
        "accuracy": accuracy,
        "oracle": {metric: accuracy[metric][str(branch)] for metric, branch in oracle_branches(accuracy).items()},
        "single_branch": best_single_branch(accuracy),
        "corrupted_images": None,
        "relus": describe_relus(model),
        "warnings": [],
        "seed": record["seed"],
        "processes": processes.count,
        "device": processes.device.type,
        "versions": versions(),
        "wall_time_s": round(seconds, 1),
        "args": dict(record),
    }


def oracle_branches(accuracy: dict) -> dict[str, int]:
    """The branch that the published protocol predicts with: the clean one, and the adversarial one under attack."""
    branches = [int(branch) for branch in accuracy["CA"]]
    chosen = {"CA": min(branches), "NPA": min(branches), "AdvA": max(branches)}
    return {metric: branch for metric, branch in chosen.items() if accuracy.get(metric)}


def best_single_branch(accuracy: dict) -> dict:
    measured = [metric for metric in METRICS if accuracy.get(metric)]
    best = max(accuracy["CA"], key=lambda branch: mean(accuracy[metric][branch] for metric in measured))
    return {"branch": int(best), **{metric: accuracy[metric][best] for metric in measured}}


def read_results(path: str | Path) -> dict:
    """A results file, or that of a run folder. Raises UserError for one that is missing, damaged or of another kind."""
    return read_report(
        path,
        "results.json",
        SCHEMA,
        where="a run folder or its results.json",
        remedy="run the script that wrote it again",
    )


def read_report(path: str | Path, name: str, schema: str, *, where: str, remedy: str) -> dict:
    """The JSON object of that schema at `path`, or in the file `name` of the folder at `path`.

    Raises UserError, which says `where` to look, or the `remedy`, for one that is missing, damaged or of another kind.
    """
    path = Path(path)
    path = path / name if path.is_dir() else path
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name {where}") from error
    except ValueError as error:
        raise UserError(f"{path}: no {name}, or a damaged one ({error})") from error
    found = content.get("schema") if isinstance(content, dict) else None
    if found != schema:
        raise UserError(f"{path}: its schema is {found}, this code reads {schema}; {remedy}")
    return content
