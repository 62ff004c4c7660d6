"""PGD in the L-infinity ball (Madry et al., ICLR 2018): signed gradients from a uniform random start."""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.ascent import ascend
from attacks.attack import Attack, AttackSettings, Logits, Loss, Start


def signed_ascent(
    fn: Logits,
    x: Tensor,
    target: Tensor,
    *,
    eps: float,
    step_size: float,
    steps: int,
    loss: Loss,
    random_start: Tensor | None = None,
) -> Tensor:
    """Images within `eps` of x that raise `loss(fn(images), target)` by `steps` signed-gradient ascents.

    x: (B, C, H, W) float32 in [0, 1]; fn: images -> logits; loss: (logits, target) -> (B,), one value per image, whose
    images must not influence each other (eval mode). random_start: uniform noise in [-1, 1) of x's shape
    (`sample_noise`); None starts at x. Never waits for the device.
    """
    # Rounding x - eps and x + eps once, here, keeps every iterate inside one fixed ball.
    lower, upper = (x - eps).clamp_(min=0), (x + eps).clamp_(max=1)
    start = x
    if random_start is not None:
        start = torch.addcmul(x, random_start, x.new_full((), eps)).clamp(lower, upper)
    return ascend(
        fn,
        start,
        target,
        step_size=step_size,
        steps=steps,
        loss=loss,
        direction=torch.sign,
        project=lambda images: images.clamp_(lower, upper),
    )


class PGD(Attack):
    name = "pgd"
    title = "PGD"
    strength = 20
    summary = "--steps steps of --step_size from a random start"
    judges = True

    def perturb(
        self, settings: AttackSettings, fn: Logits, x: Tensor, target: Tensor, *, loss: Loss, random_start: Start
    ) -> Tensor:
        return signed_ascent(
            fn,
            x,
            target,
            eps=settings.eps,
            step_size=settings.step_size,
            steps=settings.steps,
            loss=loss,
            random_start=random_start(),
        )


ENTRY = PGD()
