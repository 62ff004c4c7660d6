"""results.json: one schema for every script, documented in the README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from helper.machine import versions

from helper.errors import UserError
from helper.files import read_json
from reporting.tables import METRICS

SCHEMA = "rlnet-results-2"
# The rule of `best_single_branch`; where there is no attack, CA alone decides.
BEST_BRANCH = "highest mean of CA and AdvA"
# Attacks as they are registered, which reporting, without torch, cannot ask.
PGD, AUTOATTACK = "pgd", "autoattack"
# Of files from before attacks told their own titles; all are in the L-infinity ball, the weakest first.
FORMER_TITLES = {"fgsm": "FGSM", PGD: "PGD", AUTOATTACK: "AutoAttack"}


def base_results(
    script: str,
    record: Mapping[str, object],
    *,
    model: str,
    dataset: str,
    image_size: int,
    branches: int,
    trained_branches: Sequence[int],
    relus: Mapping[str, object],
    weights: Mapping[str, object] | None,
    attack: Mapping[str, object] | None,
    attack_titles: Mapping[str, str],
    accuracy: dict,
    processes: int,
    device: str,
    seconds: float,
) -> dict:
    """What every script reports. `record`: its options, as `plain_arguments` has them.

    `relus`: {'kept', 'total', 'layers'}; `weights`: the same where they are sparse, else None; `attack`: name, title,
    norm and numbers of that behind AdvA; `attack_titles`: {name: title} of all that were run, the weakest first;
    `accuracy`: {'images', 'CA': {branch: %}, 'AdvA': {branch: %}, ...}.

    `oracle` is the published protocol, in which somebody who knows which images are attacked picks the branch;
    `single_branch` gives the same weights without that knowledge, by the rule in `single_branch_rule`.
    """
    return {
        "schema": SCHEMA,
        "script": script,
        "model": model,
        "dataset": dataset,
        "image_size": image_size,
        "branches": branches,
        "trained_branches": list(trained_branches),
        "attack": dict(attack) if attack else None,
        "attack_titles": dict(attack_titles),
        "accuracy": accuracy,
        "oracle": {metric: accuracy[metric][str(branch)] for metric, branch in oracle_branches(accuracy).items()},
        "single_branch": best_single_branch(accuracy),
        "single_branch_rule": BEST_BRANCH,
        "corrupted_images": None,
        "relus": dict(relus),
        "weights": dict(weights) if weights else None,
        "warnings": [],
        "seed": record["seed"],
        "processes": processes,
        "device": device,
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
    """By CA and AdvA, which training and validation both measure, so that one file has one answer (BEST_BRANCH)."""
    judged = [metric for metric in ("CA", "AdvA") if accuracy.get(metric)]
    best = max(accuracy["CA"], key=lambda branch: mean(accuracy[metric][branch] for metric in judged))
    measured = [metric for metric in METRICS if accuracy.get(metric)]
    return {"branch": int(best), **{metric: accuracy[metric][best] for metric in measured}}


def read_results(path: str | Path) -> dict:
    """A results file, or that of a run folder. Raises UserError for one that is missing, damaged or of another kind."""
    results = read_report(
        path,
        "results.json",
        SCHEMA,
        where="a run folder or its results.json",
        remedy="run the script that wrote it again",
    )
    try:
        return up_to_date(results)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: results.json lacks what it should hold ({type(error).__name__}: {error})") from error


def up_to_date(results: dict) -> dict:
    """Results of any version of this schema, as they are written today."""
    attack = results.get("attack") and with_title(results["attack"])
    titles = results.get("attack_titles")
    if titles is None:
        found = [*(results["accuracy"].get("attacks") or {}), *([attack["name"]] if attack else [])]
        known = [name for name in FORMER_TITLES if name in found]
        titles = {name: FORMER_TITLES.get(name, name) for name in (*known, *sorted({*found} - {*known}))}
    return results | {"attack": attack, "attack_titles": titles}


def with_title(attack: dict) -> dict:
    """What is recorded of an attack, with the title and the norm that earlier records lack."""
    return {"title": FORMER_TITLES.get(attack["name"], attack["name"]), "norm": "Linf"} | attack


def read_report(path: str | Path, name: str, schema: str, *, where: str, remedy: str) -> dict:
    """The JSON object of that schema at `path`, or in the file `name` of the folder at `path`.

    Raises UserError, which says `where` to look, or the `remedy`, for one that is missing, damaged or of another kind.
    """
    path = Path(path)
    path = path / name if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: no such file; name {where}")
    content = read_json(path, name)
    found = content.get("schema") if isinstance(content, dict) else None
    if found != schema:
        raise UserError(f"{path}: its schema is {found}, this code reads {schema}; {remedy}")
    return content
