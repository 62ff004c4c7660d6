"""How a network was trained, back to its teacher, as far as the files that its checkpoint names are still there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from formats.results import TrainingStage
from helper.checkpoint import known_checkpoint
from helper.errors import UserError
from helper.run_folder import plain_arguments
from reporting.results import read_results

MOST_STAGES = 3  # stage 2, stage 1 and the teacher; a file may name itself


def training_recipe(
    path: Path, stage: int | None, epoch: int | None, options: Mapping[str, object]
) -> tuple[TrainingStage, ...]:
    """The stages that led to the checkpoint at `path`, the last one first; each with the hours of its run, where its
    results.json lies beside it. `stage`, `epoch` and `options` are the checkpoint's.
    """
    stages = [_stage(path, stage, epoch, options)]
    # The student of stage 1 knows the same teacher.
    while (before := options.get("path_s_load") or options.get("path_t")) and len(stages) < MOST_STAGES:
        known = known_checkpoint(str(before))
        if known is None:
            break
        options = known.args
        stages.append(_stage(Path(str(before)), known.stage, known.epoch, options))
    return tuple(stages)


def _stage(path: Path, stage: int | None, epoch: int | None, options: Mapping[str, object]) -> TrainingStage:
    plain = plain_arguments(options)
    return TrainingStage.model_validate(
        {"stage": stage, "file": path.name, "epoch": epoch, "options": plain, **_hours(path)}
    )


def _hours(path: Path) -> dict[str, float]:
    try:
        seconds = read_results(path.parent).wall_time_s
    except UserError:
        return {}
    return {} if seconds is None else {"hours": round(seconds / 3600, 3)}
