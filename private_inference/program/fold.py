"""Normalisation folded away. Every rule is exact but for float32's rounding.

1. conv -> affine: scale and bias go into the convolution, whose output nobody else reads.
2. Where there is no convolution in front (a pre-activation block normalises a sum; the images are normalised before
   anything else), scale * x + bias = scale * (x + bias / scale). A positive scale goes on through ReLUs, masked or not,
   max pooling and average pooling, until every path ends in a convolution or linear layer, which takes it into its
   weights. What is left is the shift x + bias / scale: an addition, which two parties do without talking.

The bias cannot go the same way, not into the following convolution: that pads its input with zeros after
normalisation, so at the border fewer taps see the bias than inside. The scale can, as 0 * scale = 0. For the images the
shift is -mean, which the client subtracts in the clear before it shares them: means are public.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from private_inference.program.steps import Decision, Program, Step, macs

# Fixed-point numbers have few bits before the point; a norm with a scale near 0 would ask for a shift beyond them.
LARGEST_SHIFT = 1024.0


class _Blocked(Exception):
    """Why a scale cannot go on."""


def fold_norms(program: Program) -> Program:
    """The same function with as few affine steps as can be; `decisions` says what became of each."""
    for norm in [step for step in program.steps if step.kind == "affine"]:
        # Earlier rounds may have scaled this very step.
        step = next(step for step in program.steps if step.output == norm.output)
        before = macs(program)
        into: tuple[str, ...] = ()
        try:
            program, why, into = _into_producer(program, step) or _into_consumers(program, step)
            done = True
        except _Blocked as reason:
            why, done = f"{reason}, so it stays a multiplication per value", False
        layers = (step.layer, *into)
        program = program.decided(Decision("fold", layers, done, why, before, macs(program)))
    return program


def scaled_outputs(step: Step, scale: np.ndarray, bias: np.ndarray | float = 0.0) -> dict[str, np.ndarray]:
    """The weight and bias of a conv or linear step that gives scale * y + bias per output channel; float32."""
    weight, old = (step.arrays[name].astype(np.float64) for name in ("weight", "bias"))
    weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    return {"weight": weight.astype(np.float32), "bias": (old * scale + bias).astype(np.float32)}


def _into_producer(program: Program, step: Step) -> tuple[Program, str, tuple[str, ...]] | None:
    """(the program, why, the layers that it went into); None where there is no such convolution."""
    source = program.producer(step.inputs[0])
    if source is None or source.kind != "conv" or program.only_consumer(source.output) is not step:
        return None
    arrays = scaled_outputs(source, *(step.arrays[name].astype(np.float64).ravel() for name in ("scale", "bias")))
    merged = replace(source, output=step.output, arrays=arrays)
    changed = program.replaced({source.output: [], step.output: [merged]})
    return changed, "into the convolution before it", (source.layer,)


def _into_consumers(program: Program, step: Step) -> tuple[Program, str, tuple[str, ...]]:
    scale, bias = (step.arrays[name].astype(np.float64) for name in ("scale", "bias"))
    if not scale.all() or np.abs(bias / scale).max() > LARGEST_SHIFT:
        raise _Blocked("a scale of (nearly) 0 leaves no shift that could stand for it")
    changed: dict[str, Step] = {}
    _absorb(program, step.output, scale.ravel(), changed)
    shift = replace(step, kind="shift", arrays={"bias": (bias / scale).astype(np.float32)})
    changes = {output: [new] for output, new in changed.items()}
    takers = tuple(new.layer for new in changed.values())
    why = "the scale into the layers after it, the rest is a shift"
    return program.replaced({**changes, step.output: [shift]}), why, takers


def _absorb(program: Program, value: str, scale: np.ndarray, changed: dict[str, Step]) -> None:
    """Put into `changed` the steps that make up for `value` being given without its factor `scale` (C,) or (F,)."""
    if value == program.output:
        raise _Blocked("what follows is the output")
    for step in program.consumers(value):
        if step.kind in ("conv", "linear"):
            changed[step.output] = _scaled_inputs(step, scale)
        elif step.kind == "affine":
            arrays = {**step.arrays, "scale": (step.arrays["scale"] * scale[:, None, None]).astype(np.float32)}
            changed[step.output] = replace(step, arrays=arrays)
        elif step.kind in ("relu", "max_pool") and scale.min() <= 0:
            raise _Blocked("a negative scale turns the comparison behind it around")
        elif step.kind in ("relu", "max_pool", "average_pool"):
            _absorb(program, step.output, scale, changed)
        elif step.kind == "flatten":
            # (C, H, W) flattens channel by channel.
            features = next(iter(program.consumers(step.output)), None)
            if features is None or features.kind != "linear":
                raise _Blocked("a flattened map goes elsewhere than into a linear layer")
            per_channel = features.arrays["weight"].shape[1] // len(scale)
            _absorb(program, step.output, scale.repeat(per_channel), changed)
        else:
            raise _Blocked(f"what follows, {step.layer}, is a sum with an unscaled value")


def _scaled_inputs(step: Step, scale: np.ndarray) -> Step:
    """A conv or linear step for inputs that lack the factor `scale` per input channel or feature."""
    weight = step.arrays["weight"].astype(np.float64)
    if step.kind == "linear":
        weight = weight * scale
    else:
        outputs, inputs, *kernel = weight.shape
        groups = step.settings["groups"]
        grouped = weight.reshape(groups, outputs // groups, inputs, *kernel)
        weight = (grouped * scale.reshape(groups, 1, inputs, 1, 1)).reshape(weight.shape)
    return replace(step, arrays={**step.arrays, "weight": weight.astype(np.float32)})
