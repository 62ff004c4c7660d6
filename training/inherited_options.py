"""What options of stages 1 and 2 are where they are not given: what the checkpoint says that the stage begins with."""

from __future__ import annotations

import argparse
from pathlib import Path

from attacks.attack import attacks
from attacks.options import NONE
from helper.checkpoint import known_checkpoint
from models import architecture_of, student_name
from models.own import check_named

# What of an attack goes with its name.
ATTACK = ("eps", "step_size", "steps")


def options_of_origin(args: argparse.Namespace) -> dict[str, object]:
    """Values by option, from the student of --path_s_load in stage 2, else from the teacher.

    Of files that say nothing, which others may have made, the options are those of plain training.
    """
    file: Path = getattr(args, "path_s_load", args.path_t)
    known = known_checkpoint(file)
    if known is None:
        return {"augment_mode": NONE, "attack_mode": NONE}
    check_named(known, file)
    found: dict[str, object] = {name: known.trained_with(name) or NONE for name in ("augment_mode", "attack_mode")}
    attack = attacks().get(str(found["attack_mode"]))
    if args.attack_mode is None and attack:
        given = {name: known.trained_with(name) for name in (*ATTACK, *(option.name for option in attack.options))}
        found |= {name: value for name, value in given.items() if value is not None}
    found["model_s"] = student_name(architecture_of(known.model.name))
    if known.model.branches > 1 and not (args.use1BN or args.use2BN or args.use3BN):
        found[f"use{known.model.branches}BN"] = True
    return found
