"""`--robust_train_mode rslad+attn+augattn+ce` as data: weighted terms, the views they need, and the training attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.ascent import cross_entropy_per_image
from distiller_zoo.kd import kl_divergence
from distiller_zoo.loss import Output, losses, tokens
from distiller_zoo.modes import (
    LABELS,
    MODES,
    TEACHER_CLEAN,
    TEACHER_MODES,
    Mode,
    Term,
    Weights,
)
from helper.errors import UserError

VIEWS = ("clean", "aug", "adv")


@dataclass(frozen=True)
class Objective:
    """The loss of a training step.

    `attack_target` says what the training attack maximises: cross-entropy with LABELS, or the divergence at
    `attack_temperature` from the clean logits of the teacher or of the model itself.
    """

    terms: tuple[Term, ...]
    attack_target: str = LABELS
    attack_temperature: float = 1.0

    @property
    def views(self) -> tuple[str, ...]:
        """The views that the terms look at, in the order clean, aug, adv."""
        named = {term.view for term in self.terms}
        return tuple(view for view in VIEWS if view in named)

    @property
    def attack_loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """(logits, target) -> (B,)"""
        if self.attack_target == LABELS:
            return cross_entropy_per_image
        return lambda logits, target: kl_divergence(logits, target, self.attack_temperature)

    def uses(self, target: str, view: str | None = None) -> bool:
        """Whether a term (of `view`, if named) is held to `target`."""
        return any(term.target == target and view in (None, term.view) for term in self.terms)

    def __call__(
        self, outputs: Mapping[str, Output], targets: Callable[[Term], Tensor | Output]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and every term before its weight by name; `targets(term)` gives what a term is held to."""
        values = [losses()[term.kind].compare(term, outputs[term.view], targets(term)) for term in self.terms]
        loss = torch.stack([term.weight * value for term, value in zip(self.terms, values, strict=True)]).sum()
        return loss, {term.name: value for term, value in zip(self.terms, values, strict=True)}


def parse_objective(
    mode: str | None, *, augmix: bool, attack: bool, weights: Weights, with_teacher: bool = True
) -> Objective:
    """The objective that a mode names, given the views at hand; None stands for the stage's default.

    Without a teacher (stage 0) the modes are none, pgd and trades, and the tokens those of losses that need no teacher;
    with one they are those of MODES and all tokens. A weight of 0 leaves a loss out.
    Raises UserError for an unknown token and for one that names a view that is not there.
    """
    known, extras = MODES if with_teacher else TEACHER_MODES, tokens(with_teacher=with_teacher)
    mode = mode or ("pgd" if attack else "none")
    words = mode.split("+")
    for word in words:
        if word not in known and word not in extras:
            added = f", with +{', +'.join(sorted(extras))}"
            added += "" if with_teacher else " (there is no teacher to distil from)"
            raise UserError(f"--robust_train_mode {mode}: unknown token '{word}'; modes are {', '.join(known)}{added}")
    bases = [word for word in words if word in known]
    if len(bases) > 1 or len(set(words)) < len(words):
        raise UserError(f"--robust_train_mode {mode}: name one mode of {', '.join(known)}, and every token once")
    base = bases[0] if bases else ("pgd" if attack else "none")
    chosen = known[base]
    views = [view for view, there in zip(VIEWS, (True, augmix, attack), strict=True) if there]

    def need(word: str, view: str | None) -> None:
        if view not in (None, *views):
            option = "--augment_mode augmix" if view == "aug" else "--attack_mode pgd"
            raise UserError(f"--robust_train_mode {mode}: '{word}' needs the {view} view; add {option}")

    need(base, "adv" if chosen.adversarial else None)
    if base == "none" and attack:
        raise UserError(f"--robust_train_mode {mode}: 'none' trains without adversarial images; use --attack_mode none")
    terms = chosen.terms(views, weights)
    for loss in losses(with_teacher=with_teacher).values():
        named = [token for token in loss.tokens if token in {*words, *chosen.tokens}]
        for token in named:
            need(token, loss.tokens[token])
        if named:
            terms = loss.extend(terms, named, chosen, views, weights)
    return _checked(mode, terms, chosen, weights)


def _checked(mode: str, terms: Sequence[Term], chosen: Mode, weights: Weights) -> Objective:
    """The objective of the terms that count. Raises UserError where none does, or one counts against another."""
    terms = [term for term in terms if term.weight]
    if any(term.weight < 0 for term in terms):
        raise UserError(
            f"--robust_train_mode {mode}: --alpha {weights.alpha} is above 1: the clean view would count < 0"
        )
    if not terms:
        raise UserError(f"--robust_train_mode {mode}: its weights leave no term in the loss")
    temperature = weights.temperature if chosen.attack_target == TEACHER_CLEAN else 1.0
    return Objective(tuple(terms), chosen.attack_target, temperature)


def mode_help(*, with_teacher: bool = True) -> str:
    """What --robust_train_mode says of the modes and tokens there are."""
    modes = MODES if with_teacher else TEACHER_MODES
    added = [
        f"+{', +'.join(loss.tokens)}: {loss.summary}"
        for loss in losses(with_teacher=with_teacher).values()
        if loss.tokens
    ]
    return f"{', '.join(modes)}; with {'; '.join(added)}"
