"""results.json of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.recipe import training_recipe
from evaluation.results import network_results
from training.judging import trained_branches
from training.overfitting import overfitting_warning
from training.plan import Plan
from training.progress import Progress
from training.step import Task


def training_results(script: str, plan: Plan, task: Task, progress: Progress, checkpoints: Sequence[dict]) -> dict:
    """The results of a training run; its headline is the first selected checkpoint, the one that users pass on."""
    results = network_results(
        script,
        plan.record,
        task.processes,
        task.student,
        model_name=plan.model,
        dataset=plan.data.name,
        branches=trained_branches(task),
        attack=plan.judged_under,
        accuracy=checkpoints[0]["accuracy"],
        seconds=progress.seconds,
    )
    first = checkpoints[0]
    told = {"stage": plan.stage, "epoch": first["epoch"], "args": dict(plan.record)}
    results["training"] = training_recipe(told, Path(first["file"]))
    results["training"][0]["hours"] = round(progress.seconds / 3600, 3)
    select_on = plan.images.select_on
    results["weights"] = first["weights"]
    results |= {"checkpoints": list(checkpoints), "select_on": select_on, "epochs": progress.epoch}
    if progress.overfitted and plan.judged_under:
        results["warnings"].append(overfitting_warning(progress.overfitted, plan.judged_under.entry))
    if select_on == "test":
        results["warnings"].append("the best epoch was chosen on the test set: these accuracies flatter")
    return results
