"""results.json of a training run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from attacks.attack import AttackSettings
from helper.run_folder import plain_arguments
from reporting.results import base_results
from training.fit import Progress, trained_branches
from training.overfitting import overfitting_warning
from training.step import Task


def training_results(
    script: str,
    args: argparse.Namespace,
    task: Task,
    progress: Progress,
    checkpoints: Sequence[dict],
    *,
    model_name: str,
    attack: AttackSettings | None,
) -> dict:
    """The results of a training run; its headline is the first selected checkpoint, the one that users pass on."""
    results = base_results(
        script,
        plain_arguments(vars(args)),
        task.processes,
        task.student,
        model_name=model_name,
        dataset=args.dataset,
        branches=trained_branches(task),
        attack=attack,
        accuracy=checkpoints[0]["accuracy"],
        seconds=progress.seconds,
    )
    results |= {"checkpoints": list(checkpoints), "select_on": args.select_on, "epochs": progress.epoch}
    if progress.overfitted:
        results["warnings"].append(overfitting_warning(progress.overfitted))
    if args.select_on == "test":
        results["warnings"].append("the best epoch was chosen on the test set: these accuracies flatter")
    return results
