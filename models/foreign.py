"""Teachers from other people's state dicts."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from helper.checkpoint import read_file
from models import architecture_of, build_model
from models.layers import ModelSpec, Network
from models.restore import load_model
from models.torchvision_weights import from_torchvision, is_torchvision


def load_teacher(path: str | Path, spec: ModelSpec, student: str) -> tuple[Network, dict]:
    """A teacher for a student of that name: one of our checkpoints, or torchvision's own state dict of a ResNet.

    A torchvision file names no model and no data set; it is taken as the student's architecture under `spec`, with one
    branch.
    """
    content = read_file(path)
    if not (isinstance(content, dict) and is_torchvision(content)):
        return load_model(path)
    name = architecture_of(student)
    checkpoint = {"model": {"name": name, **asdict(spec), "branches": 1}, "origin": "torchvision"}
    arguments = {key: value for key, value in checkpoint["model"].items() if key != "name"}
    model = build_model(name, **arguments)
    model.load_state_dict(from_torchvision(content, model))
    return model, checkpoint
