"""L-infinity attacks in [0, 1] pixel space: PGD (Madry et al., ICLR 2018), FGSM (Goodfellow et al., ICLR 2015), and
N-FGSM (de Jorge et al., NeurIPS 2022), which is for training.

An attack is a pure function of a callable; `attack_mode` readies a network to be that callable, and leaves no trace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from helper.errors import UserError
from helper.hash_random import random_bits
from models.layers import use_branch

ATTACKS = ("none", "fgsm", "nfgsm", "pgd")
# Attacks of one step: a network can learn to withstand just that step (catastrophic overfitting).
SINGLE_STEP = ("fgsm", "nfgsm")
# In the order of their strength.
ATTACK_TITLES = {"fgsm": "FGSM", "pgd": "PGD", "autoattack": "AutoAttack"}


@dataclass(frozen=True)
class AttackSettings:
    """`eps` and `step_size` in units of the pixel range [0, 1].

    `restarts`: an evaluation tries that many random starts, and an image must withstand each of them.
    """

    name: str
    eps: float
    step_size: float
    steps: int
    restarts: int = 1

    def __call__(
        self,
        fn: Callable[[Tensor], Tensor],
        x: Tensor,
        target: Tensor,
        *,
        loss: Callable[[Tensor, Tensor], Tensor],
        random_start: Callable[[], Tensor],
    ) -> Tensor:
        """One run from one start; `random_start()` is asked for its noise where the attack has one.

        x is taken to lie in [0, 1], for looking means waiting for the device; `check_pixels` looks.
        """
        if self.name == "fgsm":
            return ascend(fn, x, target, eps=self.eps, step_size=self.eps, steps=1, loss=loss)
        if self.name == "nfgsm":
            return noisy_step(fn, x, target, eps=self.eps, loss=loss, random_start=random_start())
        return ascend(
            fn,
            x,
            target,
            eps=self.eps,
            step_size=self.step_size,
            steps=self.steps,
            loss=loss,
            random_start=random_start(),
        )


def pgd(
    fn: Callable[[Tensor], Tensor],
    x: Tensor,
    target: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    random_start: Tensor | None = None,
) -> Tensor:
    """Images within `eps` of x that raise `loss(fn(images), target)` by `steps` signed-gradient ascents.

    x: (B, C, H, W) float32 in [0, 1]; fn: images -> logits; loss: (logits, target) -> (B,), one value per image, whose
    images must not influence each other (eval mode). random_start: uniform noise in [-1, 1) of x's shape
    (`sample_noise`); None starts at x. Raises UserError where x leaves [0, 1].
    """
    check_pixels(x)
    return ascend(fn, x, target, eps=eps, step_size=step_size, steps=steps, loss=loss, random_start=random_start)


def ascend(
    fn: Callable[[Tensor], Tensor],
    x: Tensor,
    target: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    random_start: Tensor | None = None,
) -> Tensor:
    """`pgd` without its check: never waits for the device, so that it can be recorded as a CUDA graph."""
    # Rounding x - eps and x + eps once, here, keeps every iterate inside one fixed ball.
    lower, upper = (x - eps).clamp_(min=0), (x + eps).clamp_(max=1)
    x_adv = x
    if random_start is not None:
        x_adv = torch.addcmul(x, random_start, x.new_full((), eps)).clamp(lower, upper)
    for _ in range(steps):
        direction = ascent_direction(fn, x_adv, target, loss)
        x_adv = torch.add(x_adv, direction, alpha=step_size).clamp_(lower, upper)
    return x_adv


def noisy_step(
    fn: Callable[[Tensor], Tensor],
    x: Tensor,
    target: Tensor,
    *,
    eps: float,
    loss: Callable[[Tensor, Tensor], Tensor],
    random_start: Tensor,
) -> Tensor:
    """N-FGSM (de Jorge et al., NeurIPS 2022, algorithm 1): one step of size eps from x + n, n ~ U(-2 eps, 2 eps).

    Arguments as `pgd` has them. Images in [0, 1], within 3 eps of x: there is no projection to the ball, which is what
    keeps training against it from catastrophic overfitting.
    """
    noisy = torch.addcmul(x, random_start, x.new_full((), 2 * eps))
    return torch.add(noisy, ascent_direction(fn, noisy, target, loss), alpha=eps).clamp_(0, 1)


def ascent_direction(
    fn: Callable[[Tensor], Tensor], x: Tensor, target: Tensor, loss: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """The sign of the gradient of `loss(fn(x), target)` with regard to x."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = loss(fn(x), target).sum()
    (gradient,) = torch.autograd.grad(value, x)
    return gradient.sign()


def check_pixels(x: Tensor) -> None:
    """Raise UserError, naming the range, where x leaves [0, 1]. Waits for the device."""
    low, high = torch.aminmax(x)
    if low < 0 or high > 1:
        raise UserError(f"attacked images must lie in [0, 1]; these lie in [{float(low):.3g}, {float(high):.3g}]")


def cross_entropy_per_image(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, classes), (B,) -> (B,)"""
    return F.cross_entropy(logits, labels, reduction="none")


@contextmanager
def attack_mode(model: nn.Module, branch: int) -> Iterator[nn.Module]:
    """Within the context `model` is in eval mode, frozen, and takes `branch`; after it, all is as it was."""
    training = [(module, module.training) for module in model.modules()]
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in trainable:
            parameter.requires_grad_(False)
        with use_branch(model, branch):
            yield model
    finally:
        for module, mode in training:
            module.training = mode
        for parameter, flag in trainable:
            parameter.requires_grad_(flag)


def sample_noise(indices: Tensor, shape: tuple[int, ...], *key: int | Tensor) -> Tensor:
    """Uniform noise in [-1, 1), (B, *shape) float32 on the device of `indices` (B,), the images' numbers.

    Row i is a function of indices[i] and `key` (seed, epoch, restart; a number, or an int64 scalar there) alone. So an
    image meets the same random start on any device, in any batch, on any number of processes, and in a run that was
    resumed: there is no generator to save.
    """
    bits = random_bits(indices, int(torch.Size(shape).numel()), *key)
    return ((bits >> 8).float() * 2.0**-23 - 1.0).view(-1, *shape)
