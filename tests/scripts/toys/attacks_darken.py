"""An attack that asks no gradient: every pixel is made darker by eps."""

from __future__ import annotations

from torch import Tensor

from attacks.attack import Attack, AttackSettings, Logits, Loss, Start


class Darken(Attack):
    name = "darken"
    title = "Darkening"
    strength = 5
    summary = "every pixel darker by eps"

    def perturb(
        self, settings: AttackSettings, fn: Logits, x: Tensor, target: Tensor, *, loss: Loss, random_start: Start
    ) -> Tensor:
        return (x - settings.eps).clamp_(min=0)


ENTRY = Darken()
