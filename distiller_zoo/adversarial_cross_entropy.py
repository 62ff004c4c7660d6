"""More weight on the adversarial images: robust accuracy for clean accuracy, where a network has some to spare."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from distiller_zoo.loss import Loss, Option, Output
from distiller_zoo.modes import LABELS, Term


class AdversarialCrossEntropy(Loss[Tensor]):
    name = "advce"
    summary = "adv_weight times the cross-entropy of the adversarial view, beside what the mode has"
    tokens: ClassVar = {"advce": "adv"}
    target = LABELS
    weight = Option("adv_weight", 1.0, "weight of the adversarial images' own cross-entropy")
    needs_teacher = False

    def compare(self, term: Term, output: Output, target: Tensor) -> Tensor:
        return F.cross_entropy(output.logits, target)


ENTRY = AdversarialCrossEntropy()
