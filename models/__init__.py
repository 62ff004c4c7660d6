"""The registry of networks. `build_model(name, ...)` builds any of them; `Custom<name>` is the masked student.

A student is its teacher with masks: one class, one file, one layout of the state dict. To add a network, write one file
of families/ with its table ARCHITECTURES.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from dataset.spec import NETWORK_SIZES
from helper.errors import UserError
from helper.registry import modules_of
from models.layers import ModelSpec, Network, size_masks

ARCHITECTURES: dict[str, Callable[[ModelSpec], Network]] = {
    name: constructor for family in modules_of("models.families") for name, constructor in family.ARCHITECTURES.items()
}
IMAGE_SIZES = NETWORK_SIZES


def student_name(architecture: str) -> str:
    """'ResNet18' -> 'CustomResNet18', 'wrn_22_8' -> 'Custom_wrn_22_8'."""
    return f"Custom_{architecture}" if "_" in architecture else f"Custom{architecture}"


STUDENTS = {student_name(architecture): architecture for architecture in ARCHITECTURES}


def architecture_of(name: str) -> str:
    """The architecture that a teacher's or a student's name stands for. Raises UserError for an unknown name."""
    architecture = STUDENTS.get(name, name)
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise UserError(f"unknown model '{name}'; known are {known}, Custom<name> for students, and PATH.py:function")
    return architecture


def build_model(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    branches: int = 1,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> Network:
    """A network with random weights and all-true masks, for square images of `image_size` (32, 64 or 224) pixels.

    `branches` is the number of batch-norm branches, 1 to 3. Raises UserError for an unknown name or size.
    """
    model = _unsized(name, ModelSpec(num_classes, image_size, branches, tuple(mean), tuple(std)))
    size_masks(model)
    return model


def outline(
    name: str, *, num_classes: int, image_size: int, branches: int, mean: Sequence[float], std: Sequence[float]
) -> Network:
    """As `build_model`, without memory for weights: their names and shapes alone, and none of the masks'."""
    with torch.device("meta"):
        return _unsized(name, ModelSpec(num_classes, image_size, branches, tuple(mean), tuple(std)))


def _unsized(name: str, spec: ModelSpec) -> Network:
    architecture = architecture_of(name)
    if spec.image_size not in IMAGE_SIZES:
        raise UserError(f"image size {spec.image_size} is not one of {', '.join(map(str, IMAGE_SIZES))}")
    return ARCHITECTURES[architecture](spec)
