"""A zoo for tests, and checkpoints of digits to put into it."""

from __future__ import annotations

import shlex
from pathlib import Path

import torch

import add_to_zoo as script
from dataset import dataset_spec
from formats.checkpoint import Checkpoint
from helper.checkpoint import save_checkpoint
from masks.selection import set_random_masks
from models import build_model
from models.layers import relu_sites
from models.restore import describe_model
from training.plan import model_spec


def add_to_zoo(command: str) -> None:
    script.main(script.parse_args(shlex.split(command)))


def save_digits_network(path: Path, *, kept: int | None = None, **more) -> Path:
    """A resnet8 of two branches that knows nothing yet; with `kept` a student that keeps so many ReLUs a layer."""
    name = "Customresnet8" if kept else "resnet8"
    torch.manual_seed(0)
    model = build_model(name, **vars(model_spec(dataset_spec("digits"), 2)))
    identity = {"dataset": "digits", "stage": 0, "trained_branches": [0, 1], "epoch": 2}
    if kept:
        layers = [kept] * len(relu_sites(model))
        set_random_masks(model, layers, seed=0)
        budget = {"label": f"relu{sum(layers)}", "layers": layers}
        identity |= {"stage": 2, "teacher": "resnet8", "budget": budget, "tag": "pgd"}
    save_checkpoint(path, Checkpoint(**describe_model(name, model), **identity, **more))
    return path
