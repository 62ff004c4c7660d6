"""How a network was trained, back to its teacher, as far as the files that its checkpoint names are still there."""

from __future__ import annotations

from pathlib import Path

from helper.checkpoint import known_content
from helper.errors import UserError
from helper.files import read_json
from helper.run_folder import plain_arguments


def training_recipe(checkpoint: dict, path: Path) -> list[dict]:
    """The stages that led to the checkpoint at `path`, the last one first.

    Each is {'stage', 'file', 'epoch', 'options'}, with the 'hours' of its run where its results.json lies beside it.
    """
    options = checkpoint.get("args", {})
    stage = {"stage": checkpoint.get("stage"), "file": path.name, "epoch": checkpoint.get("epoch")}
    stages = [stage | {"options": plain_arguments(options)} | _hours(path)]
    before = options.get("path_s_load") or options.get("path_t")  # the student of stage 1 knows the same teacher
    if before and (content := known_content(before)):
        stages += training_recipe(content, Path(before))
    return stages


def _hours(path: Path) -> dict[str, float]:
    try:
        return {"hours": round(read_json(path.parent / "results.json")["wall_time_s"] / 3600, 3)}
    except (UserError, LookupError, TypeError):
        return {}
