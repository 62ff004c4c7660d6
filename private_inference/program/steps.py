"""A network as a program: an ordered list of plain steps on named values, made of numpy arrays and whole numbers only.

What a step does, by its `kind`; x is one image's map (C, H, W), weights are float32:

    conv          x -> cross-correlation with `weight` (O, C / groups, KH, KW) and zero padding, plus `bias` (O,)
    linear        x (F,) -> `weight` (O, F) @ x + `bias` (O,)
    affine        x * `scale` (C, 1, 1) + `bias` (C, 1, 1): multiplies by secret weights, so it costs what a conv does
    shift         x + `bias` (C, 1, 1) or (C, H, W): only adds, which costs nothing between two parties
    add           the sum of two values
    relu          relu(x) where `mask` (C, H, W) is true, x elsewhere; without a mask, relu(x)
    average_pool  mean over windows of `kernel` at `stride`, without padding; global where the window is the map
    max_pool      maximum over windows, the padding being -inf: secure comparisons, like a ReLU
    flatten       (C, H, W) -> (C * H * W,)

The setting `bits` of a relu or max_pool, where there is one, names the ring that its secret comparisons are made in.
A site whose mask keeps nothing is the identity and no step at all.

Plain Python and numpy: the secure engine's environment, which has no PyTorch, reads programs too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

import numpy as np

INPUT = "images"

# kind: (values it takes, arrays it must have, arrays it may have, settings)
KINDS: dict[str, tuple[int, set[str], set[str], set[str]]] = {
    "conv": (1, {"weight", "bias"}, set(), {"stride", "padding", "groups"}),
    "linear": (1, {"weight", "bias"}, set(), set()),
    "affine": (1, {"scale", "bias"}, set(), set()),
    "shift": (1, {"bias"}, set(), set()),
    "add": (2, set(), set(), set()),
    "relu": (1, set(), {"mask"}, set()),
    "average_pool": (1, set(), set(), {"kernel", "stride"}),
    "max_pool": (1, set(), set(), {"kernel", "stride", "padding"}),
    "flatten": (1, set(), set(), set()),
}

COMPARING = ("relu", "max_pool")

Pair = tuple[int, int]  # (height, width)


class Settings(TypedDict, total=False):
    stride: Pair
    padding: Pair
    kernel: Pair
    groups: int
    bits: int
    layout: Any  # engine/products.py's, in the engine alone


@dataclass(frozen=True, eq=False)
class Step:
    """One operation. `layer` is the module it comes from."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    layer: str
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class Decision:
    """Whether these layers were made one, and why (not). Multiply-accumulates per image without and with it."""

    what: str  # 'fold' of a normalisation, or 'fuse' of linear layers
    layers: tuple[str, ...]
    done: bool
    why: str
    macs_before: int
    macs_after: int


@dataclass(frozen=True, eq=False)
class Program:
    """Steps in order; the only input is the value 'images', (C, H, W) in [0, 1]; the last step gives the logits.

    A part of a network is a program too, of whatever shape goes into it.
    """

    input_shape: tuple[int, ...]
    steps: tuple[Step, ...]
    decisions: tuple[Decision, ...] = ()

    @property
    def output(self) -> str:
        return self.steps[-1].output

    def consumers(self, value: str) -> list[Step]:
        """Steps that read `value`, one that reads it twice twice."""
        return [step for step in self.steps for name in step.inputs if name == value]

    def producer(self, value: str) -> Step | None:
        """The step that makes `value`; None for the images."""
        return next((step for step in self.steps if step.output == value), None)

    def only_consumer(self, value: str) -> Step | None:
        """The step that alone reads `value`, once; None where there is another, or where it is the logits."""
        readers = self.consumers(value)
        return readers[0] if len(readers) == 1 and value != self.output else None

    def replaced(self, changes: Mapping[str, list[Step]]) -> Program:
        """With the step that makes each of these values replaced by others (none: left out)."""
        steps = [new for step in self.steps for new in changes.get(step.output, [step])]
        return replace(self, steps=tuple(steps))

    def decided(self, *decisions: Decision) -> Program:
        return replace(self, decisions=(*self.decisions, *decisions))


def pair(value: object) -> Pair:
    """3 or (3, 3) as two whole numbers."""
    height, width = value if isinstance(value, tuple | list) else (value, value)
    return int(height), int(width)


def output_shape(step: Step, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `step` makes of the shapes of its inputs. Raises ValueError where they do not go together."""
    try:
        return _output_shape(step, *shapes)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"step '{step.layer}' ({step.kind}) does not fit maps of shape {shapes}: {error}") from error


def _output_shape(step: Step, shape: tuple[int, ...], *others: tuple[int, ...]) -> tuple[int, ...]:
    arrays, settings = step.arrays, step.settings
    if step.kind in ("conv", "linear") and arrays["bias"].shape != arrays["weight"].shape[:1]:
        raise ValueError(f"bias is {arrays['bias'].shape}, weight {arrays['weight'].shape}")
    if "mask" in arrays and arrays["mask"].shape != shape:
        raise ValueError(f"mask is {arrays['mask'].shape}")
    if step.kind == "flatten":
        return (math.prod(shape),)
    if step.kind == "linear":
        if arrays["weight"].shape[1:] != shape:
            raise ValueError(f"weight is {arrays['weight'].shape}")
        return (arrays["weight"].shape[0],)
    if step.kind in ("conv", "average_pool", "max_pool"):
        channels, *sides = shape
        kernel = settings["kernel"] if step.kind != "conv" else pair(arrays["weight"].shape[2:])
        if step.kind == "conv":
            if arrays["weight"].shape[1] * settings["groups"] != channels:
                raise ValueError(f"weight is {arrays['weight'].shape}")
            channels = arrays["weight"].shape[0]
        windows = zip(sides, kernel, settings["stride"], settings.get("padding", (0, 0)), strict=True)
        sides = [(side + 2 * padding - size) // stride + 1 for side, size, stride, padding in windows]
        if min(sides) < 1:
            raise ValueError(f"the {kernel[0]}x{kernel[1]} window is larger than the map")
        return (channels, *sides)
    for other in [*others, *(array.shape for array in arrays.values())]:
        if np.broadcast_shapes(shape, other) != shape:
            raise ValueError(f"cannot take {other}")
    return shape


def shapes(program: Program) -> dict[str, tuple[int, ...]]:
    """The shape of every value, for one image. Raises ValueError for steps that do not go together."""
    known: dict[str, tuple[int, ...]] = {INPUT: program.input_shape}
    for step in program.steps:
        missing = [name for name in step.inputs if name not in known]
        if missing or step.output in known:
            raise ValueError(f"step '{step.layer}' reads {missing or step.inputs} and writes '{step.output}'")
        known[step.output] = output_shape(step, *(known[name] for name in step.inputs))
    return known


def step_macs(step: Step, shape: tuple[int, ...]) -> int:
    """Multiply-accumulates with weights, per image, of a step that makes a value of `shape`; padding counts."""
    if step.kind == "affine":
        return math.prod(shape)
    if step.kind in ("conv", "linear"):
        return math.prod(shape) * math.prod(step.arrays["weight"].shape[1:])
    return 0


def macs(program: Program) -> int:
    """Multiply-accumulates of the whole program, per image."""
    known = shapes(program)
    return sum(step_macs(step, known[step.output]) for step in program.steps)


def comparisons(program: Program) -> list[tuple[str, str, int]]:
    """(layer, 'relu' or 'max_pool', secure comparisons per image), in order. A window of k values takes k - 1."""
    known, found = shapes(program), []
    for step in program.steps:
        if step.kind == "relu":
            count = int(step.arrays["mask"].sum()) if "mask" in step.arrays else math.prod(known[step.output])
        elif step.kind == "max_pool":
            count = math.prod(known[step.output]) * (math.prod(step.settings["kernel"]) - 1)
        else:
            continue
        found.append((step.layer, step.kind, count))
    return found
