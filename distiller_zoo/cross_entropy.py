"""Cross-entropy with the labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from distiller_zoo.loss import Loss, Output
from distiller_zoo.modes import LABELS, Mode, Term, Weights, mean_ce, scaled


class CrossEntropy(Loss[Tensor]):
    name = "ce"
    summary = "gamma mean CE + alpha times what the mode distils"
    tokens: ClassVar = {"ce": None}
    target = LABELS
    order = -1  # it makes the mode another, and the other tokens add to that

    def compare(self, term: Term, output: Output, target: Tensor) -> Tensor:
        return F.cross_entropy(output.logits, target)

    def extend(
        self, terms: list[Term], named: Sequence[str], mode: Mode, views: Sequence[str], weights: Weights
    ) -> list[Term]:
        """gamma * mean CE + alpha * the mode's own distillation (KL over views for `pgd`, which has none)."""
        return mean_ce(views, weights.gamma) + scaled(mode.distilled(views, weights), weights.alpha)


ENTRY = CrossEntropy()
