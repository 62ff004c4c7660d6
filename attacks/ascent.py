"""What gradient attacks share: the ascent, the gradient, noise for random starts, the check of the pixel range.

An attack is a pure function of a callable; `attacks.mode.attack_mode` readies a network to be that callable.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from helper.errors import UserError
from helper.hash_random import random_bits


def ascend(
    fn: Callable[[Tensor], Tensor],
    x_adv: Tensor,
    target: Tensor,
    *,
    step_size: float,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    direction: Callable[[Tensor], Tensor],
    project: Callable[[Tensor], Tensor],
) -> Tensor:
    """x_adv after `steps` steps that raise `loss(fn(x_adv), target)`.

    x_adv: (B, C, H, W); direction: gradient -> step of length 1 in the attack's norm; project: images -> the nearest
    ones that are allowed, and may change its argument. Never waits for the device.
    """
    for _ in range(steps):
        step = direction(loss_gradient(fn, x_adv, target, loss))
        x_adv = project(torch.add(x_adv, step, alpha=step_size))
    return x_adv


def loss_gradient(
    fn: Callable[[Tensor], Tensor], x: Tensor, target: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The gradient of `loss(fn(x), target)`, (B,), with regard to x."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(fn(x), target).sum()
    (gradient,) = torch.autograd.grad(value, x)
    return gradient


def cross_entropy_per_image(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, classes), (B,) -> (B,)"""
    return F.cross_entropy(logits, labels, reduction="none")


def check_pixels(x: Tensor) -> None:
    """Raise UserError, naming the range, where x leaves [0, 1]. Waits for the device."""
    low, high = torch.aminmax(x)
    if low < 0 or high > 1:
        raise UserError(f"attacked images must lie in [0, 1]; these lie in [{float(low):.3g}, {float(high):.3g}]")


def sample_noise(indices: Tensor, shape: tuple[int, ...], *key: int | Tensor) -> Tensor:
    """Uniform noise in [-1, 1), (B, *shape) float32 on the device of `indices` (B,), the images' numbers.

    Row i is a function of indices[i] and `key` (seed, epoch, restart; a number, or an int64 scalar there) alone. So an
    image meets the same random start on any device, in any batch, on any number of processes, and in a run that was
    resumed: there is no generator to save.
    """
    bits = random_bits(indices, int(torch.Size(shape).numel()), *key)
    return ((bits >> 8).float() * 2.0**-23 - 1.0).view(-1, *shape)
