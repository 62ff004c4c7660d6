"""What every `--robust_train_mode` compares with what: a mode is a list of weighted terms.

A term is `weight * mean over its view of kind(student, target)`. To add a mode, write one function here and enter it in
MODES; to add a kind of loss, or a '+token', write its file beside this one, as distiller_zoo/loss.py says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Term:
    """`kind`: the name of a loss. `view`: 'clean', 'aug' or 'adv'. `target`: what the student's output is to match."""

    weight: float
    kind: str
    view: str
    target: str
    temperature: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.kind}_{self.view}"


# Targets of a term, and of the training attack.
LABELS = "labels"
TEACHER = "teacher"  # the teacher on the same images, in the same branch
TEACHER_CLEAN = "teacher_clean"  # the teacher on the clean originals of these images
OWN_CLEAN = "own_clean"  # the model itself on the clean originals of these images


@dataclass(frozen=True)
class Weights:
    """--gamma, --alpha, --kd_T and --trades_lambda. `own`: weights that one loss has to itself, by their options'
    names, where they are not the default.
    """

    gamma: float = 0.5
    alpha: float = 0.5
    temperature: float = 4.0
    trades_lambda: float = 6.0
    own: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Mode:
    """`terms(views, weights)` is the mode by itself, `distilled(views, weights)` the part that '+ce' averages.

    `tokens`: those that it has without being asked.
    """

    terms: Callable[[Sequence[str], Weights], list[Term]]
    distilled: Callable[[Sequence[str], Weights], list[Term]]
    attack_target: str = LABELS
    adversarial: bool = True
    tokens: tuple[str, ...] = ()


def mean_ce(views: Sequence[str], weight: float = 1.0) -> list[Term]:
    """weight * the mean over views of CE(view)."""
    return [Term(weight / len(views), "ce", view, LABELS) for view in views]


def _kl(views: Sequence[str], weights: Weights, target: str = TEACHER) -> list[Term]:
    """The mean over views of KL(view)."""
    return [Term(1 / len(views), "kl", view, target, weights.temperature) for view in views]


def scaled(terms: Sequence[Term], weight: float) -> list[Term]:
    return [Term(weight * term.weight, term.kind, term.view, term.target, term.temperature) for term in terms]


def _none(views: Sequence[str], weights: Weights) -> list[Term]:
    """Plain distillation; attention on the clean view comes as the token attn."""
    return mean_ce(views, weights.gamma) + scaled(_kl(views, weights), weights.alpha)


def _pgd(views: Sequence[str], weights: Weights) -> list[Term]:
    """Madry et al., ICLR 2018, on every view in use."""
    return mean_ce(views)


def _ard(views: Sequence[str], weights: Weights) -> list[Term]:
    """Adversarially robust distillation, Goldblum et al., AAAI 2020: adv is held to the teacher's clean logits."""
    labelled = [Term(1.0, "ce", view, LABELS) for view in views if view != "adv"]
    return scaled(labelled + _ard_distilled(views, weights), 1 / len(views))


def _ard_distilled(views: Sequence[str], weights: Weights) -> list[Term]:
    return _kl(["adv"], weights, TEACHER_CLEAN)


def _trades(views: Sequence[str], weights: Weights) -> list[Term]:
    """TRADES, Zhang et al., ICML 2019."""
    return [*mean_ce(["clean"]), *_trades_distilled(views, weights)]


def _trades_distilled(views: Sequence[str], weights: Weights) -> list[Term]:
    return [Term(weights.trades_lambda, "kl", "adv", OWN_CLEAN)]


def _rslad(views: Sequence[str], weights: Weights) -> list[Term]:
    """Robust soft-label adversarial distillation, Zi et al., ICCV 2021: every target is the teacher's clean logits."""
    if len(views) == 2:
        clean, adv = (Term(1.0, "kl", view, TEACHER_CLEAN, weights.temperature) for view in views)
        return scaled([clean], 1 - weights.alpha) + scaled([adv], weights.alpha)
    return _rslad_distilled(views, weights)


def _rslad_distilled(views: Sequence[str], weights: Weights) -> list[Term]:
    return _kl(views, weights, TEACHER_CLEAN)


MODES = {
    "none": Mode(_none, _kl, adversarial=False, tokens=("attn",)),
    "pgd": Mode(_pgd, _kl),
    "kl": Mode(_kl, _kl, adversarial=False),
    "ard": Mode(_ard, _ard_distilled),
    "trades": Mode(_trades, _trades_distilled, attack_target=OWN_CLEAN),
    "rslad": Mode(_rslad, _rslad_distilled, attack_target=TEACHER_CLEAN),
}
# Without a teacher: cross-entropy over the views, or TRADES.
TEACHER_MODES = {
    "none": Mode(_pgd, _pgd, adversarial=False),
    "pgd": MODES["pgd"],
    "trades": MODES["trades"],
}
