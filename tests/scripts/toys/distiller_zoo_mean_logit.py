"""The squared distance of mean logits, as the token +meanlogit with --delta as its weight."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from distiller_zoo.loss import Loss, Option, Output
from distiller_zoo.modes import Term


class MeanLogit(Loss[Output]):
    name = "ml"
    summary = "delta times the squared distance of the mean logits of the clean view"
    tokens: ClassVar = {"meanlogit": "clean"}
    weight = Option("delta", 0.25, "weight of the mean logits' distance")

    def compare(self, term: Term, output: Output, target: Output) -> Tensor:
        return (output.logits.mean() - target.logits.mean()).square()


ENTRY = MeanLogit()
