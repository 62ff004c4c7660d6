"""What a loss is. `Loss`: an entry, all there is to know of one. One loss is one file of this folder, which holds its
entry at the top level; options, help and objectives ask the entry, and no other file knows a token by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor

from distiller_zoo.modes import TEACHER, Mode, Term, Weights
from helper.registry import discover


@dataclass(frozen=True)
class Output:
    """Logits (B, classes) and stage features of one view."""

    logits: Tensor
    features: Sequence[Tensor]

    def rows(self, rows: slice) -> Output:
        return Output(self.logits[rows], [feature[rows] for feature in self.features])


Target = TypeVar("Target", Tensor, Output)


@dataclass(frozen=True)
class Option:
    """The option of the command line that weighs a loss: --`name`, a number from 0 up."""

    name: str
    default: float
    help: str


class Loss(Generic[Target]):
    """A loss as the rest of the house knows it: a `Loss[Tensor]` is held to labels, a `Loss[Output]` to an output.
    Entries set what differs, and define `compare`.

    name: the kind of its terms, and how figures call them. tokens: what adds it to a mode, '+token', and the view that
    each looks at. target: what the student's output on that view is held to. weight: its option; None for a loss that
    only modes use. distill: the value of --distill without which the weight is 0, where there is one. needs_teacher:
    False for one that stage 0 may add too.
    """

    name: str
    summary: str
    tokens: ClassVar[Mapping[str, str | None]] = {}
    target: str = TEACHER
    weight: Option | None = None
    distill: str | None = None
    needs_teacher = True
    order = 0

    def compare(self, term: Term, output: Output, target: Target) -> Tensor:
        """The loss, a scalar: the student's output on one view, and the labels (B,) or an output of as many rows."""
        raise NotImplementedError

    def extend(
        self, terms: list[Term], named: Sequence[str], mode: Mode, views: Sequence[str], weights: Weights
    ) -> list[Term]:
        """The terms of a mode when the tokens `named` are added: the mean over their views, weighed by the option."""
        if self.weight is None:
            raise TypeError(f"loss {self.name} has tokens: it needs a weight, or an `extend` of its own")
        weight = weights.own.get(self.weight.name, self.weight.default)
        looked_at = [view for token in named if (view := self.tokens[token])]
        share = weight * (1 / len(named))
        return terms + [Term(share, self.name, view, self.target, weights.temperature) for view in looked_at]


@cache
def losses(*, with_teacher: bool = True) -> dict[str, Loss[Any]]:
    """All losses by their names; without a teacher, those that need none."""
    found = discover("distiller_zoo", Loss)
    return {name: loss for name, loss in found.items() if with_teacher or not loss.needs_teacher}


def tokens(*, with_teacher: bool = True) -> dict[str, Loss[Any]]:
    """What may be added to a mode by '+', and the loss that it is a token of."""
    return {token: loss for loss in losses(with_teacher=with_teacher).values() for token in loss.tokens}


def weight_defaults() -> dict[str, object]:
    """The losses' own options, as they are where nobody gives them."""
    return {loss.weight.name: loss.weight.default for loss in losses().values() if loss.weight}
