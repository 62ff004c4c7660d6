"""results.json: how it is made, and read (formats/results.py)."""

from __future__ import annotations

from helper.machine import versions

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

from formats.measured import Accuracy, AttackRecord, Kept
from formats.record import Document
from formats.results import SCHEMA, Oracle, Results, SingleBranch
from helper.files import read_record
from reporting.tables import METRICS

# The rule of `best_single_branch`; where there is no attack, CA alone decides.
BEST_BRANCH = "highest mean of CA and AdvA"
# Attacks as they are registered, which reporting, without torch, cannot ask.
PGD, AUTOATTACK = "pgd", "autoattack"

Report = TypeVar("Report", bound=Document)


def base_results(
    script: str,
    record: Mapping[str, object],
    *,
    accuracy: Accuracy,
    attack: AttackRecord | None,
    relus: Kept,
    seconds: float,
    warnings: Sequence[str] = (),
    **more: Any,
) -> Results:
    """What every script reports. `record`: its options, as `plain_arguments` has them; `more`: fields of `Results`.

    `oracle` is the published protocol, in which somebody who knows which images are attacked picks the branch;
    `single_branch` gives the same weights without that knowledge, by the rule in `single_branch_rule`.
    """
    picked = {metric: accuracy.of(metric)[str(branch)] for metric, branch in oracle_branches(accuracy).items()}
    return Results(
        schema=SCHEMA,
        script=script,
        attack=attack,
        accuracy=accuracy,
        oracle=Oracle(**picked),
        single_branch=best_single_branch(accuracy),
        single_branch_rule=best_branch_rule(accuracy),
        relus=relus,
        warnings=tuple(warnings),
        versions=versions(),
        wall_time_s=round(seconds, 1),
        args=dict(record),
        **{"seed": record["seed"], "corrupted_images": None, **more},
    )


def oracle_branches(accuracy: Accuracy) -> dict[str, int]:
    """The branch that the published protocol predicts with: the clean one, and the adversarial one under attack."""
    branches = [int(branch) for branch in accuracy.CA]
    chosen = {"CA": min(branches), "NPA": min(branches), "AdvA": max(branches)}
    return {metric: branch for metric, branch in chosen.items() if accuracy.of(metric)}


def best_branch_rule(accuracy: Accuracy) -> str:
    """What `best_single_branch` goes by, in words."""
    some = accuracy.AdvA and accuracy.AdvA.keys() != accuracy.CA.keys()
    return f"{BEST_BRANCH}, of the attacked ones" if some else BEST_BRANCH


def best_single_branch(accuracy: Accuracy) -> SingleBranch:
    """By CA and AdvA, which training and validation both measure, so that one file has one answer (BEST_BRANCH). Of
    branches of which some were not attacked, those that were are judged.
    """
    judged = [metric for metric in ("CA", "AdvA") if accuracy.of(metric)]
    best = max(accuracy.of(judged[-1]), key=lambda branch: mean(accuracy.of(metric)[branch] for metric in judged))
    return SingleBranch(
        branch=int(best), **{metric: accuracy.of(metric)[best] for metric in METRICS if accuracy.of(metric)}
    )


def read_results(path: str | Path) -> Results:
    """A results file, or that of a run folder. Raises UserError for one that is missing, damaged or of another kind."""
    return read_report(path, "results.json", Results)


def read_report(path: str | Path, name: str, kind: type[Report]) -> Report:
    """The file of that kind at `path`, or called `name` in the folder at `path`. Raises UserError as `read_record`."""
    path = Path(path)
    return read_record(path / name if path.is_dir() else path, kind)
