"""What options of stages 1 and 2 are where they are not given: what the checkpoint says that the stage begins with."""

from __future__ import annotations

import argparse
from pathlib import Path

from attacks.attack import attacks
from attacks.options import NONE
from helper.checkpoint import known_content
from models import architecture_of, student_name
from models.own import check_named

# What of an attack goes with its name.
ATTACK = ("eps", "step_size", "steps")


def options_of_origin(args: argparse.Namespace) -> dict[str, object]:
    """Values by option, from the student of --path_s_load in stage 2, else from the teacher.

    Of files that say nothing, which others may have made, the options are those of plain training.
    """
    file: Path = getattr(args, "path_s_load", args.path_t)
    content = known_content(file)
    trained = content.get("args", {})
    found: dict[str, object] = {"augment_mode": trained.get("augment_mode", NONE)}
    found["attack_mode"] = trained.get("attack_mode", NONE)
    if args.attack_mode is None and found["attack_mode"] in attacks():
        own = [option.name for option in attacks()[found["attack_mode"]].options]
        found |= {name: trained[name] for name in (*ATTACK, *own) if name in trained}
    if model := content.get("model"):
        check_named(content, file)
        found["model_s"] = student_name(architecture_of(model["name"]))
        if model["branches"] > 1 and not (args.use2BN or args.use3BN):
            found[f"use{model['branches']}BN"] = True
    return found
