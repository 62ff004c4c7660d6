"""FGSM (Goodfellow et al., ICLR 2015): one signed-gradient step of size eps from the image."""

from __future__ import annotations

from torch import Tensor

from attacks.attack import Attack, AttackSettings, Logits, Loss, Start
from attacks.pgd import signed_ascent


class FGSM(Attack):
    name = "fgsm"
    title = "FGSM"
    strength = 10
    summary = "one step"
    single_step = True

    def perturb(
        self, settings: AttackSettings, fn: Logits, x: Tensor, target: Tensor, *, loss: Loss, random_start: Start
    ) -> Tensor:
        return signed_ascent(fn, x, target, eps=settings.eps, step_size=settings.eps, steps=1, loss=loss)


ENTRY = FGSM()
