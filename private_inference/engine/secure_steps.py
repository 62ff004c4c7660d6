"""Every kind of step as a function of jax.numpy arrays, which the secure engine compiles. No secret is in here.

Shapes as in program/steps.py, with a batch in front. Runs in the engine's environment, without PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array, lax

from private_inference.program.gather import masked_relu, plan
from private_inference.program.steps import Step

# Instead of -inf around a map that is max-pooled: fixed-point numbers have none, and no activation comes near.
LOWEST = -(2.0**20)
LAYOUT = ("NCHW", "OIHW", "NCHW")


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
            return lambda x: _max_pool(x, settings["kernel"], settings["stride"], settings["padding"])
        case "flatten":
            return lambda x: x.reshape(len(x), -1)
    raise ValueError(f"no secure step is called '{step.kind}'")


def _relu(x: Array) -> Array:
    return jnp.maximum(x, 0)


def _masked_relu(step: Step) -> Callable[[Array], Array]:
    if "mask" not in step.arrays:
        return _relu
    layout = plan(step.arrays["mask"])
    return lambda x: masked_relu(x.reshape(len(x), -1), layout, _relu, jnp).reshape(x.shape)


def _conv(x: Array, weight: Array, settings: dict) -> Array:
    padding = [(side, side) for side in settings["padding"]]
    if settings["groups"] == 1:
        return lax.conv_general_dilated(x, weight, settings["stride"], padding, dimension_numbers=LAYOUT)
    if settings["groups"] == x.shape[1] == len(weight):
        return _depthwise(jnp.pad(x, [(0, 0), (0, 0), *padding]), weight, settings["stride"])
    groups = settings["groups"]
    parts = zip(jnp.split(x, groups, axis=1), jnp.split(weight, groups), strict=True)
    return jnp.concatenate([_conv(part, own, {**settings, "groups": 1}) for part, own in parts], axis=1)


def _depthwise(x: Array, weight: Array, stride: tuple[int, int]) -> Array:
    """One kernel a channel: a product per tap, all in one round, for the engine has no grouped convolution."""
    taps = jnp.stack(_windows(x, weight.shape[2:], stride))
    return (taps * weight.reshape(len(weight), -1).T[:, None, :, None, None]).sum(0)


def _windows(x: Array, kernel: tuple[int, int], stride: tuple[int, int]) -> list[Array]:
    """For each place in the kernel, what it sees of x in every window."""
    height, width = x.shape[2:]
    return [
        x[:, :, top : height - kernel[0] + top + 1 : stride[0], left : width - kernel[1] + left + 1 : stride[1]]
        for top in range(kernel[0])
        for left in range(kernel[1])
    ]


def _average_pool(x: Array, kernel: tuple[int, int], stride: tuple[int, int]) -> Array:
    return sum(_windows(x, kernel, stride)) * (1 / (kernel[0] * kernel[1]))


def _max_pool(x: Array, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]) -> Array:
    """The larger of pairs, of pairs of pairs, ...: as few rounds as there can be."""
    x = jnp.pad(x, [(0, 0), (0, 0), *[(side, side) for side in padding]], constant_values=LOWEST)
    found = _windows(x, kernel, stride)
    while len(found) > 1:
        half = len(found) // 2
        larger = jnp.maximum(jnp.stack(found[:half]), jnp.stack(found[half : 2 * half]))
        found = [*larger, *found[2 * half :]]
    return found[0]
