"""Commands of the training scripts that are settled in no time, and checkpoints for them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from formats.checkpoint import Checkpoint, RunState
from helper.checkpoint import save_checkpoint
from models import build_model
from models.layers import Network
from models.restore import describe_model
from training.plan import Plan

TEACHER = "train_teacher.py --model resnet8 --device cpu --amp none"
ROBUST = "--attack_mode pgd --augment_mode augmix --use2BN"
STUDENT = "--model_s Customresnet8 --device cpu --amp none"


def save_network(path: Path, model: Network, **about: object) -> Path:
    about = {"dataset": "digits", "stage": 0, "trained_branches": [*range(model.spec.branches)], **about}
    save_checkpoint(path, Checkpoint(**describe_model("resnet8", model), **about))
    return path


def begun(path: Path, plan: Plan, **changed: object) -> None:
    """A last checkpoint, as a run of `plan` leaves it; options in its record are `changed`, or left out where None."""
    args = {name: value for name, value in {**plan.record, **changed}.items() if changed.get(name, 0) is not None}
    model = build_model(plan.model, **dataclasses.asdict(plan.network))
    progress = {"epoch": 1, "step": 0, "best": {}, "masks_frozen": True, "calm_epochs": 0, "seconds": 1.0}
    state = {"optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}, "meter": {}, "search": None}
    state["inputs"] = dict(plan.inputs)
    described = describe_model(plan.model, model)
    save_checkpoint(path, RunState(**described, progress=progress, args=args, epoch=1, **state))
