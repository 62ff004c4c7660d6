"""Every kind of step as functions of jax.numpy arrays, which the secure engine compiles. No secret is in here.

Shapes as in program/steps.py, with a batch in front. Runs in the engine's environment, without PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import jax.numpy as jnp
from jax import Array, lax

from private_inference.engine.protocols import FIELD_BITS, FRACTION_BITS
from private_inference.program.gather import GatherPlan, kept_values, masked_relu, plan, put_back
from private_inference.program.steps import Pair, Settings, Step

# Instead of -inf around a map that is max-pooled, by the bits that are compared in: fixed-point numbers have none, and
# no activation comes near. In 32 bits the difference of two values must stay below 8,192.
LOWEST = {64: -(2.0**20), 32: -(2.0**12)}
LAYOUT = ("NCHW", "OIHW", "NCHW")


@dataclass(frozen=True)
class Phase:
    """A part of a step that the engine runs in one ring: `function` of the values `inputs` makes `output`.

    Values are named by their role: 'x' and 'y' go into the step, '' comes out of it, its arrays have their own names,
    and all others are handed from phase to phase. A phase in 32 bits makes a sign, which alone is right there.
    """

    function: Callable[..., Array]
    inputs: tuple[str, ...]
    output: str = ""
    bits: int = FIELD_BITS


def phases(step: Step) -> list[Phase]:
    """What the engine runs for `step`, one after the other."""
    if step.settings.get("bits") == 32:
        return (_relu_phases if step.kind == "relu" else _max_pool_phases)(step)
    arrays = tuple(name for name in step.arrays if name != "mask")
    return [Phase(secure_step(step), (*("x", "y")[: len(step.inputs)], *arrays))]


def secure_step(step: Step) -> Callable[..., Array]:
    """The function of (*values, *secret arrays in the order of step.arrays, masks left out) that computes `step`."""
    settings = step.settings
    match step.kind:
        case "conv":
            return lambda x, weight, bias: _conv(x, weight, settings) + bias[:, None, None]
        case "linear":
            return lambda x, weight, bias: x @ weight.T + bias
        case "affine":
            return lambda x, scale, bias: x * scale + bias
        case "shift":
            return lambda x, bias: x + bias
        case "add":
            return lambda x, other: x + other
        case "relu":
            return _masked_relu(step)
        case "average_pool":
            return lambda x: _average_pool(x, settings["kernel"], settings["stride"])
        case "max_pool":
            return lambda x: _max_pool(x, settings)
        case "flatten":
            return lambda x: x.reshape(len(x), -1)
    raise ValueError(f"no secure step is called '{step.kind}'")


def _layout(step: Step) -> GatherPlan | None:
    return plan(step.arrays["mask"]) if "mask" in step.arrays else None


def _relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


def _masked_relu(step: Step) -> Callable[[Array], Array]:
    layout = _layout(step)
    if layout is None:
        return _relu
    return lambda x: masked_relu(_flat(x), layout, _relu, jnp).reshape(x.shape)


def _flat(x: Array) -> Array:
    return x.reshape(len(x), -1)


def _is_negative(x: Array) -> Array:
    # Not `x > 0`, which is the sign of -x: at the smallest value of the ring that is no other.
    return x < 0


def _positive_part(x: Array, negative: Array) -> Array:
    return jnp.where(negative, 0, x)


def _relu_phases(step: Step) -> list[Phase]:
    layout = _layout(step)
    if layout is None:
        return [Phase(_is_negative, ("x",), "negative", 32), Phase(_positive_part, ("x", "negative"))]

    def finish(x: Array, kept: Array, negative: Array) -> Array:
        return put_back(_flat(x), _positive_part(kept, negative), layout, jnp).reshape(x.shape)

    return [
        Phase(lambda x: kept_values(_flat(x), layout, jnp), ("x",), "kept"),
        Phase(_is_negative, ("kept",), "negative", 32),
        Phase(finish, ("x", "kept", "negative")),
    ]


def _conv(x: Array, weight: Array, settings: Settings) -> Array:
    """By the layout that private_inference/engine/products.py chose."""
    layout, groups = settings.get("layout"), settings["groups"]
    if layout is not None and layout.kind == "elementwise":
        padding = [(side, side) for side in settings["padding"]]
        return _depthwise(jnp.pad(x, [(0, 0), (0, 0), *padding]), weight, settings["stride"])
    if layout is not None and (layout.kind == "taps" or layout.cuts or groups > 1):
        parts = zip(jnp.split(x, groups, axis=1), jnp.split(weight, groups), strict=True)
        compute = _by_taps if layout.kind == "taps" else _by_windows
        return _rounded(jnp.concatenate([compute(part, own, settings) for part, own in parts], axis=1))
    padding = [(side, side) for side in settings["padding"]]
    return lax.conv_general_dilated(
        x, weight, settings["stride"], padding, dimension_numbers=LAYOUT, feature_group_count=groups
    )


def _raw(x: Array) -> Array:
    """The ring element that stands for x: sums of products of such are exact, and are rounded once at the end."""
    return lax.bitcast_convert_type(x, jnp.int32)


def _rounded(raw: Array) -> Array:
    """As a product of matrices: SPU 0.9.5's elementwise product with a public number is wrong where x reaches 512."""
    values, unit = lax.bitcast_convert_type(raw, jnp.float32), jnp.full((1, 1), 2.0**-FRACTION_BITS, jnp.float32)
    return (values.reshape(-1, 1) @ unit).reshape(raw.shape)


def _by_windows(x: Array, weight: Array, settings: Settings) -> Array:
    """Raw, and its inner dimension cut where the layout says so."""
    padding = [(side, side) for side in settings["padding"]]
    cuts = settings["layout"].cuts
    if not cuts:
        return lax.conv_general_dilated(_raw(x), _raw(weight), settings["stride"], padding, dimension_numbers=LAYOUT)
    taps = jnp.stack(_windows(jnp.pad(x, [(0, 0), (0, 0), *padding]), weight.shape[2:], settings["stride"]))
    batch, _, height, width = taps.shape[1:]
    rows = _raw(taps).transpose(1, 3, 4, 0, 2).reshape(batch * height * width, -1)
    columns = _raw(weight).transpose(2, 3, 1, 0).reshape(-1, len(weight))
    edges = [0]
    for cut in cuts:
        edges.append(edges[-1] + cut)
    found = sum(rows[:, start:stop] @ columns[start:stop] for start, stop in pairwise(edges))
    return found.reshape(batch, height, width, -1).transpose(0, 3, 1, 2)


def _by_taps(x: Array, weight: Array, settings: Settings) -> Array:
    """Raw: every position times the weights of every tap, then each tap's results shifted to where they belong."""
    x = jnp.pad(x, [(0, 0), (0, 0), *((side, side) for side in settings["padding"])])
    batch, channels, height, width = x.shape
    outputs, _, *kernel = weight.shape
    rows = _raw(x).transpose(0, 2, 3, 1).reshape(-1, channels)
    columns = _raw(weight).transpose(1, 2, 3, 0).reshape(channels, -1)
    found = (rows @ columns).reshape(batch, height, width, -1, outputs).transpose(3, 0, 4, 1, 2)
    return sum(_windows(tap, kernel, settings["stride"])[place] for place, tap in enumerate(found))


def _depthwise(x: Array, weight: Array, stride: Pair) -> Array:
    """One kernel a channel: a product per tap, all in one round, for the engine has no grouped convolution."""
    taps = jnp.stack(_windows(x, weight.shape[2:], stride))
    taps = jnp.repeat(taps, len(weight) // x.shape[1], axis=2)
    return (taps * weight.reshape(len(weight), -1).T[:, None, :, None, None]).sum(0)


def _windows(x: Array, kernel: Sequence[int], stride: Pair) -> list[Array]:
    """For each place in the kernel, what it sees of x in every window."""
    height, width = x.shape[2:]
    return [
        x[:, :, top : height - kernel[0] + top + 1 : stride[0], left : width - kernel[1] + left + 1 : stride[1]]
        for top in range(kernel[0])
        for left in range(kernel[1])
    ]


def _average_pool(x: Array, kernel: Pair, stride: Pair) -> Array:
    return sum(_windows(x, kernel, stride)) * (1 / (kernel[0] * kernel[1]))


def _max_pool(x: Array, settings: Settings) -> Array:
    """The larger of pairs, of pairs of pairs, ...: as few rounds as there can be."""
    found = list(_stacked(x, settings, 64))
    while len(found) > 1:
        half = len(found) // 2
        larger = jnp.maximum(jnp.stack(found[:half]), jnp.stack(found[half : 2 * half]))
        found = [*larger, *found[2 * half :]]
    return found[0]


def _stacked(x: Array, settings: Settings, bits: int) -> Array:
    """For each place in the window, what it sees of x, padded with what never wins."""
    padding = [(0, 0), (0, 0), *[(side, side) for side in settings["padding"]]]
    return jnp.stack(
        _windows(jnp.pad(x, padding, constant_values=LOWEST[bits]), settings["kernel"], settings["stride"])
    )


def _max_pool_phases(step: Step) -> list[Phase]:
    """As `_max_pool`, each round of pairs compared in 32 bits by the sign of the difference."""
    settings = step.settings
    found = [Phase(lambda x: _stacked(x, settings, 32), ("x",), "stack0")]
    left, level = settings["kernel"][0] * settings["kernel"][1], 0
    while left > 1:
        half = left // 2
        stack, difference, negative = f"stack{level}", f"difference{level}", f"negative{level}"

        def subtract(stack: Array, half: int = half) -> Array:
            return stack[:half] - stack[half : 2 * half]

        def take(stack: Array, difference: Array, negative: Array, half: int = half) -> Array:
            larger = stack[half : 2 * half] + _positive_part(difference, negative)
            return jnp.concatenate([larger, stack[2 * half :]]) if len(stack) > 2 else larger[0]

        left, level = left - half, level + 1
        found += [
            Phase(subtract, (stack,), difference),
            Phase(_is_negative, (difference,), negative, 32),
            Phase(take, (stack, difference, negative), f"stack{level}" if left > 1 else ""),
        ]
    return found
