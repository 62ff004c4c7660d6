"""N-FGSM (de Jorge et al., NeurIPS 2022, algorithm 1), which is for training: one step of size eps from x + n,
n ~ U(-2 eps, 2 eps).

Images in [0, 1], within 3 eps of x: there is no projection to the ball, which is what keeps training against it from
catastrophic overfitting.
"""

from __future__ import annotations

import torch
from torch import Tensor

from attacks.ascent import loss_gradient
from attacks.attack import Attack, AttackSettings, Logits, Loss, Start


class NFGSM(Attack):
    name = "nfgsm"
    title = "N-FGSM"
    strength = 15
    summary = "one step from a noisy image, in a quarter of PGD-7's time"
    single_step = True
    evaluates = False

    def perturb(
        self, settings: AttackSettings, fn: Logits, x: Tensor, target: Tensor, *, loss: Loss, random_start: Start
    ) -> Tensor:
        noisy = torch.addcmul(x, random_start(), x.new_full((), 2 * settings.eps))
        return torch.add(noisy, loss_gradient(fn, noisy, target, loss).sign(), alpha=settings.eps).clamp_(0, 1)


ENTRY = NFGSM()
