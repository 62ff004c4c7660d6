"""Every mode against its formula written out by hand, with 1, 2 and 3 branches, with and without AugMix."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from attacks.attack import AttackSettings
from distiller_zoo.attention import attention_loss
from distiller_zoo.kd import kl_divergence
from distiller_zoo.modes import MODES, Weights
from helper.errors import UserError
from models.layers import use_branch
from training import step
from training.meter import EpochMeter
from training.objective import parse_objective

WEIGHTS = Weights(gamma=0.3, alpha=0.6, temperature=3.0, trades_lambda=5.0, own={"beta": 700.0, "adv_weight": 0.8})
ATTACK = AttackSettings("pgd", 8 / 255, 2 / 255, 1)


def softmax(logits):
    exponentials = (logits - logits.max(1, keepdim=True).values).exp()
    return exponentials / exponentials.sum(1, keepdim=True)


def ce(logits, labels):
    return -torch.stack([row[label] for row, label in zip(softmax(logits).log(), labels, strict=True)]).mean()


def kl(student, teacher, temperature):
    s, t = softmax(student / temperature), softmax(teacher / temperature)
    return temperature**2 * (t * (t / s).log()).sum(1).mean()


def at(student, teacher):
    total = 0
    for s, t in zip(student, teacher, strict=True):
        maps = [feature.pow(2).mean(1).reshape(len(feature), -1) for feature in (s, t)]
        s, t = (map_ / map_.norm(dim=1, keepdim=True) for map_ in maps)
        total = total + ((s - t) ** 2).mean()
    return total


def rows_and_branches(branches, augmix):
    """The table of method.md, section 1, for a batch of 6."""
    if branches == 1:
        return {"clean": (0, 6, 0), "aug": (0, 6, 0), "adv": (0, 6, 0)}
    if branches == 2:
        return {"clean": (0, 3, 0), "aug": (0, 3, 0), "adv": (3, 6, 1)}
    if augmix:
        return {"clean": (0, 2, 0), "aug": (2, 4, 1), "adv": (4, 6, 2)}
    return {"clean": (0, 3, 0), "adv": (3, 6, 2)}


class ByHand:
    """Each view forwarded by itself, in a student in training mode; the teacher in eval mode."""

    def __init__(self, student, teacher, batch, x_adv, branches, augmix):
        self.student, self.teacher = copy.deepcopy(student).train(), copy.deepcopy(teacher).eval()
        self.batch, self.place = batch, rows_and_branches(branches, augmix)
        self.images = {"adv": x_adv}
        for view in ("clean", "aug"):
            if view in self.place:
                self.images[view] = batch[view][slice(*self.place[view][:2])]

    def run(self, model, images, branch):
        with use_branch(model, branch):
            return model.forward_features(images)

    def s(self, view):
        return self.run(self.student, self.images[view], self.place[view][2])

    def t(self, view):
        return self.run(self.teacher, self.images[view], self.place[view][2])

    def original(self, view):
        return self.batch["clean"][slice(*self.place[view][:2])]

    def t_clean(self, view):
        return self.run(self.teacher, self.original(view), 0)

    def ce(self, view):
        return ce(self.s(view)[0], self.batch["label"][slice(*self.place[view][:2])])

    def kl(self, view):
        return kl(self.s(view)[0], self.t(view)[0], 3.0)

    def kl_clean(self, view):
        return kl(self.s(view)[0], self.t_clean(view)[0], 3.0)

    def at(self, view):
        return at(self.s(view)[1], self.t(view)[1])

    def trades(self):
        own = self.run(self.student, self.original("adv"), 0)[0]
        return 5.0 * kl(self.s("adv")[0], own, 1.0)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def expected(hand, mode, views):
    """method.md, section 3."""
    tokens = mode.split("+")
    base, g, a, b = tokens[0], 0.3, 0.6, 700.0
    if "ce" in tokens or base == "none":
        distilled = {
            "none": lambda: mean(hand.kl(v) for v in views),
            "pgd": lambda: mean(hand.kl(v) for v in views),
            "kl": lambda: mean(hand.kl(v) for v in views),
            "rslad": lambda: mean(hand.kl_clean(v) for v in views),
            "ard": lambda: hand.kl_clean("adv"),
            "trades": hand.trades,
        }[base]()
        loss = g * mean(hand.ce(v) for v in views) + a * distilled
    elif base == "pgd":
        loss = mean(hand.ce(v) for v in views)
    elif base == "kl":
        loss = mean(hand.kl(v) for v in views)
    elif base == "ard":
        loss = mean([hand.kl_clean("adv"), *(hand.ce(v) for v in views if v != "adv")])
    elif base == "trades":
        loss = hand.ce("clean") + hand.trades()
    elif len(views) == 2:
        loss = (1 - a) * hand.kl_clean("clean") + a * hand.kl_clean("adv")
    else:
        loss = mean(hand.kl_clean(v) for v in views)
    named = {"attn": "clean", "augattn": "aug", "advattn": "adv"}
    attended = {named[token] for token in tokens if token in named} | ({"clean"} if base == "none" else set())
    if attended:
        loss = loss + b * mean(hand.at(v) for v in attended)
    return loss


# Attention is added to whatever a mode says, so its tokens one by one are tried with one mode.
EXTRAS = ["", "+ce", "+ce+attn+augattn+advattn"]
ONE_BY_ONE = ["+attn", "+augattn", "+advattn", "+ce+advattn"]
MODES_OF_CASES = [
    *(base + extra for base in ("pgd", "kl", "ard", "trades", "rslad") for extra in EXTRAS),
    *("rslad" + extra for extra in ONE_BY_ONE),
]
CASES = [
    case for case in itertools.product(MODES_OF_CASES, [1, 2, 3], [False, True]) if case[2] or "augattn" not in case[0]
]
CASES += [
    ("none" + extra, 1, augmix) for extra in ("", "+ce", "+augattn") for augmix in (False, True) if augmix or not extra
]


@pytest.mark.parametrize(("mode", "branches", "augmix"), CASES)
def test_mode_equals_its_formula(mode, branches, augmix, network, batch, make_task, monkeypatch):
    attack = not mode.startswith("none")
    # Double precision: a ReLU whose input rounds to the other side of 0 would change the gradient.
    student, teacher = network(branches, seed=1).double(), network(branches, seed=2).double()
    batch |= {view: batch[view][..., ::4, ::4].double() for view in ("clean", "aug")}  # small: there are 100 cases
    objective = parse_objective(mode, augmix=augmix, attack=attack, weights=WEIGHTS)
    # TRADES by itself has no term for the AugMix view, so none takes part in the batch.
    augmix = "aug" in objective.views
    start, stop, _ = rows_and_branches(branches, augmix)["adv"]
    x_adv = torch.rand(stop - start, 3, 8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    monkeypatch.setattr(step, "attack_images", lambda *_: x_adv)
    hand = ByHand(student, teacher, batch, x_adv, branches, augmix)
    student.train()
    teacher.eval()
    task = make_task(student, objective, teacher=teacher, attack=ATTACK if attack else None)
    views = ["clean", *(["aug"] if augmix else []), *(["adv"] if attack else [])]
    loss = step.training_loss(task, batch, 0, EpochMeter(torch.device("cpu")))
    want = expected(hand, mode, views)
    torch.testing.assert_close(loss, want)
    # The gradients too: TRADES' flows through both sides of its KL.
    loss.backward()
    want.backward()
    torch.testing.assert_close(student.conv1.weight.grad, hand.student.conv1.weight.grad)


@pytest.mark.parametrize(
    ("mode", "attack", "augmix", "formula"),
    [
        (None, False, False, lambda h: h.ce("clean")),
        (None, False, True, lambda h: (h.ce("clean") + h.ce("aug")) / 2),
        (None, True, False, lambda h: (h.ce("clean") + h.ce("adv")) / 2),
        (None, True, True, lambda h: (h.ce("clean") + h.ce("aug") + h.ce("adv")) / 3),
        ("trades", True, False, lambda h: h.ce("clean") + h.trades()),
        ("pgd+advce", True, True, lambda h: (h.ce("clean") + h.ce("aug") + h.ce("adv")) / 3 + 0.8 * h.ce("adv")),
    ],
)
@pytest.mark.parametrize("branches", [1, 2, 3])
def test_teacher_mode_equals_its_formula(
    mode, attack, augmix, formula, branches, network, batch, make_task, monkeypatch
):
    branches = branches if attack else 1
    student = network(branches)
    objective = parse_objective(mode, augmix=augmix, attack=attack, weights=WEIGHTS, with_teacher=False)
    start, stop, _ = rows_and_branches(branches, augmix)["adv"]
    x_adv = torch.rand(stop - start, 3, 32, 32)
    monkeypatch.setattr(step, "attack_images", lambda *_: x_adv)
    hand = ByHand(student, student, batch, x_adv, branches, augmix)
    task = make_task(student.train(), objective, attack=ATTACK if attack else None)
    loss = step.training_loss(task, batch, 0, EpochMeter(torch.device("cpu")))
    torch.testing.assert_close(loss, formula(hand), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["pgd", "kl+ce", "ard", "trades", "rslad+ce+attn"])
@pytest.mark.parametrize("branches", [1, 2, 3])
def test_training_attack_maximises_what_its_mode_says(mode, branches, network, batch, make_task):
    student, teacher = network(branches, seed=1), network(branches, seed=2)
    objective = parse_objective(mode, augmix=False, attack=True, weights=WEIGHTS)
    seen = {}

    def spy(fn, x, target, *, loss, random_start):
        logits = fn(x)
        seen.update(x=x, target=target, loss=loss(logits, target), logits=logits, start=random_start())
        return x

    task = make_task(student.train(), objective, teacher=teacher.eval(), attack=spy)
    step.training_loss(task, batch, 0, EpochMeter(torch.device("cpu")))
    start, stop, branch = rows_and_branches(branches, False)["adv"]
    x, labels = batch["clean"][start:stop], batch["label"][start:stop]
    assert torch.equal(seen["x"], x)
    student = network(branches, seed=1).eval()
    with use_branch(student, branch):
        logits = student(x)
    torch.testing.assert_close(seen["logits"], logits)
    if mode.startswith("rslad"):
        want = [kl(row[None], target[None], 3.0) for row, target in zip(logits, teacher(x), strict=True)]
    elif mode == "trades":
        with use_branch(student, 0):
            own = student(x)
        want = [kl(row[None], target[None], 1.0) for row, target in zip(logits, own, strict=True)]
    else:
        want = [ce(row[None], label[None]) for row, label in zip(logits, labels, strict=True)]
    torch.testing.assert_close(seen["loss"], torch.stack(want), rtol=1e-4, atol=1e-5)
    assert not seen["target"].requires_grad
    assert seen["start"].shape == x.shape


def test_losses_by_hand():
    student, teacher = torch.randn(4, 5), torch.randn(4, 5)
    torch.testing.assert_close(kl_divergence(student, teacher, 4.0).mean(), kl(student, teacher, 4.0))
    assert kl_divergence(student, student, 2.0).abs().max() < 1e-6
    features = [torch.randn(4, 3, 8, 8), torch.randn(4, 6, 4, 4)]
    others = [torch.randn(4, 3, 8, 8), torch.randn(4, 6, 4, 4)]
    torch.testing.assert_close(attention_loss(features, others), at(features, others))
    with pytest.raises(ValueError, match="zip"):
        attention_loss(features, others[:1])


def test_every_combination_of_tokens_parses():
    extras = ["ce", "attn", "augattn", "advattn", "advce"]
    for base, count in itertools.product(MODES, range(len(extras) + 1)):
        for chosen in itertools.combinations(extras, count):
            attack = base != "none"
            if not attack and {"advattn", "advce"} & set(chosen):
                continue
            objective = parse_objective("+".join([base, *chosen]), augmix=True, attack=attack, weights=WEIGHTS)
            assert all(math.isfinite(term.weight) and term.weight for term in objective.terms)


@pytest.mark.parametrize(
    ("mode", "augmix", "attack", "complaint"),
    [
        ("rslad+typo", True, True, "unknown token 'typo'"),
        ("rslad+augattn", False, True, "needs the aug view"),
        ("rslad", True, False, "needs the adv view"),
        ("kl+advattn", True, False, "needs the adv view"),
        ("ard", True, False, "needs the adv view"),
        ("kl+rslad", True, True, "name one mode"),
        ("rslad+ce+ce", True, True, "every token once"),
        ("none", True, True, "without adversarial images"),
    ],
)
def test_illegal_modes_are_refused(mode, augmix, attack, complaint):
    with pytest.raises(UserError, match=complaint):
        parse_objective(mode, augmix=augmix, attack=attack, weights=WEIGHTS)


def test_a_teacher_has_nobody_to_learn_from():
    with pytest.raises(UserError, match="no teacher"):
        parse_objective("rslad", augmix=True, attack=True, weights=WEIGHTS, with_teacher=False)


def test_distill_kd_leaves_attention_out():
    objective = parse_objective("rslad+attn", augmix=False, attack=True, weights=Weights(own={"beta": 0.0}))
    assert {term.kind for term in objective.terms} == {"kl"}
