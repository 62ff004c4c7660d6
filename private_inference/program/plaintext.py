"""A program run in the clear by PyTorch: what any engine's answer is held against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from private_inference.program.steps import COMPARING, INPUT, Program, Step


def run(program: Program, images: np.ndarray | Tensor) -> np.ndarray:
    """Logits (B, classes), float32, for images (B, C, H, W) in [0, 1]."""
    *_, logits = (value for _, value in _values(program, images))
    return logits.numpy()


def largest_compared(program: Program, images: np.ndarray | Tensor) -> dict[str, float]:
    """By name, the largest |value| over all images (B, C, H, W) of every value that a comparison reads."""
    compared = {name for step in program.steps if step.kind in COMPARING for name in step.inputs}
    return {name: float(value.abs().max()) for name, value in _values(program, images) if name in compared}


@torch.no_grad()
def _values(program: Program, images: np.ndarray | Tensor) -> Iterator[tuple[str, Tensor]]:
    """Every value by name, in order, the logits last."""
    uses = Counter(name for step in program.steps for name in step.inputs)
    values = {INPUT: torch.as_tensor(images, dtype=torch.float32)}
    yield INPUT, values[INPUT]
    for step in program.steps:
        taken = [values[name] for name in step.inputs]
        for name in step.inputs:  # a value that nobody will read again makes room
            uses[name] -= 1
            if not uses[name]:
                values.pop(name, None)
        values[step.output] = _compute(step, *taken)
        yield step.output, values[step.output]


def _compute(step: Step, x: Tensor, *others: Tensor) -> Tensor:
    arrays = {name: torch.from_numpy(array) for name, array in step.arrays.items()}
    settings = step.settings
    match step.kind:
        case "conv":
            weight, bias, stride, padding = arrays["weight"], arrays["bias"], settings["stride"], settings["padding"]
            return F.conv2d(x, weight, bias, stride, padding, groups=settings["groups"])
        case "linear":
            return F.linear(x, arrays["weight"], arrays["bias"])
        case "affine":
            return x * arrays["scale"] + arrays["bias"]
        case "shift":
            return x + arrays["bias"]
        case "add":
            return x + others[0]
        case "relu":
            return torch.where(arrays["mask"], F.relu(x), x) if "mask" in arrays else F.relu(x)
        case "average_pool":
            return F.avg_pool2d(x, settings["kernel"], settings["stride"])
        case "max_pool":
            return F.max_pool2d(x, settings["kernel"], settings["stride"], settings["padding"])
        case "flatten":
            return x.flatten(1)
    raise ValueError(f"no step is called '{step.kind}'")
