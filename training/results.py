"""results.json of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evaluation.recipe import training_recipe
from evaluation.results import network_results
from formats.results import Results, Selected
from training.judging import trained_branches
from training.overfitting import overfitting_warning
from training.plan import Plan
from training.progress import Progress
from training.step import Task


def training_results(
    script: str, plan: Plan, task: Task, progress: Progress, checkpoints: Sequence[Selected]
) -> Results:
    """The results of a training run; its headline is the first selected checkpoint, the one that users pass on."""
    first, warnings, select_on = checkpoints[0], [], plan.images.select_on
    last, *before = training_recipe(Path(first.file), plan.stage, first.epoch, plan.record)
    last = last.model_copy(update={"hours": round(progress.seconds / 3600, 3)})
    if progress.overfitted and plan.judged_under:
        warnings.append(overfitting_warning(progress.overfitted, plan.judged_under.entry))
    if select_on == "test":
        warnings.append("the best epoch was chosen on the test set: these accuracies flatter")
    return network_results(
        script,
        plan.record,
        task.processes,
        task.student,
        model_name=plan.model,
        dataset=plan.data.name,
        branches=trained_branches(task),
        attack=plan.judged_under,
        accuracy=first.accuracy,
        weights=first.weights,
        training=(last, *before),
        seconds=progress.seconds,
        warnings=warnings,
        checkpoints=tuple(checkpoints),
        select_on=select_on,
        epochs=progress.epoch,
    )
