"""`--robust_train_mode rslad+attn+augattn+ce` as data: weighted terms, the views they need, and the training attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.ascent import cross_entropy_per_image
from distiller_zoo.attention import attention_loss
from distiller_zoo.kd import kl_divergence
from distiller_zoo.modes import (
    ATTENTION_TOKENS,
    LABELS,
    MODES,
    TEACHER,
    TEACHER_CLEAN,
    TEACHER_MODES,
    Term,
    Weights,
    scaled,
    with_ce,
)
from helper.errors import UserError
from helper.precision import at_least_float32

VIEWS = ("clean", "aug", "adv")


@dataclass(frozen=True)
class Output:
    """Logits (B, classes) and stage features of one view."""

    logits: Tensor
    features: Sequence[Tensor]

    def rows(self, rows: slice) -> Output:
        return Output(self.logits[rows], [feature[rows] for feature in self.features])


def _cross_entropy(term: Term, output: Output, labels: Tensor) -> Tensor:
    return F.cross_entropy(output.logits, labels)


def _divergence(term: Term, output: Output, target: Output) -> Tensor:
    return kl_divergence(output.logits, target.logits, term.temperature).mean()


def _attention(term: Term, output: Output, target: Output) -> Tensor:
    features, targets = (map(at_least_float32, part.features) for part in (output, target))
    return attention_loss(list(features), list(targets))


KINDS: dict[str, Callable[[Term, Output, Tensor | Output], Tensor]] = {
    "ce": _cross_entropy,
    "kl": _divergence,
    "at": _attention,
}


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
        values = [KINDS[term.kind](term, outputs[term.view], targets(term)) for term in self.terms]
        loss = torch.stack([term.weight * value for term, value in zip(self.terms, values, strict=True)]).sum()
        return loss, {term.name: value for term, value in zip(self.terms, values, strict=True)}


def parse_objective(
    mode: str | None, *, augmix: bool, attack: bool, weights: Weights, with_teacher: bool = True
) -> Objective:
    """The objective that a mode names, given the views at hand; None stands for the stage's default.

    Without a teacher (stage 0) the modes are none, pgd and trades; with one they are those of MODES, with the tokens
    ce, attn, augattn and advattn added by '+'. `weights.beta` 0 leaves the attention terms out.
    Raises UserError for an unknown token and for one that names a view that is not there.
    """
    known = MODES if with_teacher else TEACHER_MODES
    extras = {"ce", *ATTENTION_TOKENS} if with_teacher else set()
    mode = mode or ("pgd" if attack else "none")
    tokens = mode.split("+")
    for token in tokens:
        if token not in known and token not in extras:
            added = f", with +{', +'.join(sorted(extras))}" if extras else " (there is no teacher to distil from)"
            raise UserError(f"--robust_train_mode {mode}: unknown token '{token}'; modes are {', '.join(known)}{added}")
    bases = [token for token in tokens if token in known]
    if len(bases) > 1 or len(set(tokens)) < len(tokens):
        raise UserError(f"--robust_train_mode {mode}: name one mode of {', '.join(known)}, and every token once")
    base = bases[0] if bases else ("pgd" if attack else "none")
    chosen = known[base]
    views = [view for view, there in zip(VIEWS, (True, augmix, attack), strict=True) if there]

    def need(token: str, view: str) -> None:
        if view not in views:
            option = "--augment_mode augmix" if view == "aug" else "--attack_mode pgd"
            raise UserError(f"--robust_train_mode {mode}: '{token}' needs the {view} view; add {option}")

    if chosen.adversarial:
        need(base, "adv")
    if base == "none" and attack:
        raise UserError(f"--robust_train_mode {mode}: 'none' trains without adversarial images; use --attack_mode none")
    terms = with_ce(chosen, views, weights) if "ce" in tokens else chosen.terms(views, weights)
    attention = [token for token in ATTENTION_TOKENS if token in tokens or (token == "attn" and chosen.attention)]
    for token in attention:
        need(token, ATTENTION_TOKENS[token])
    if weights.beta:
        attended = [Term(1 / len(attention), "at", ATTENTION_TOKENS[token], TEACHER) for token in attention]
        terms = terms + scaled(attended, weights.beta)
    terms = [term for term in terms if term.weight]
    if any(term.weight < 0 for term in terms):
        raise UserError(
            f"--robust_train_mode {mode}: --alpha {weights.alpha} is above 1: the clean view would count < 0"
        )
    if not terms:
        raise UserError(f"--robust_train_mode {mode}: gamma, alpha and beta leave no term in the loss")
    temperature = weights.temperature if chosen.attack_target == TEACHER_CLEAN else 1.0
    return Objective(tuple(terms), chosen.attack_target, temperature)
