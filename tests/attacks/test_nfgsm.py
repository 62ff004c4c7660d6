"""N-FGSM is its formula, takes its target from the objective, and leaves no trace."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.attack import AttackSettings
from distiller_zoo.kd import kl_divergence
from distiller_zoo.modes import Weights
from models.branches import plan_views
from models.layers import use_branch
from training.objective import parse_objective
from training.step import TeacherAnswers, attack_images

EPS = 8 / 255
NFGSM = AttackSettings("nfgsm", EPS, 2 / 255, 7)


def by_hand(loss_of_images, x: Tensor, noise: Tensor) -> Tensor:
    """de Jorge et al., NeurIPS 2022: `noise` in [-1, 1), the summed loss of images -> x_adv."""
    noisy = (x + 2 * EPS * noise).requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of_images(noisy), noisy)
    return (noisy + EPS * gradient.sign()).clamp(0, 1).detach()


def test_it_is_its_formula_and_keeps_to_no_ball(network, batch):
    x, labels = batch["clean"], batch["label"]
    x[0], x[1] = 0, 1  # at the border of the pixel range
    model = network().eval()
    noise = sample_noise(batch["index"], x.shape[1:], 3)
    got = NFGSM(model, x, labels, loss=cross_entropy_per_image, random_start=lambda: noise)
    want = by_hand(lambda images: F.cross_entropy(model(images), labels, reduction="sum"), x, noise)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)
    distance = (got - x).abs()
    assert 2.9 * EPS < distance.max() <= 3 * EPS + 1e-6
    assert (distance[2:] > EPS).float().mean() > 0.25
    assert got.min() >= 0
    assert got.max() <= 1
    assert not got.requires_grad


@pytest.mark.parametrize(("mode", "branches"), [("pgd", 1), ("rslad+ce", 2), ("trades", 3)])
def test_it_attacks_what_the_objective_attacks_and_leaves_no_trace(mode, branches, network, batch, make_task):
    """Labels; the teacher's clean logits; the student's own: as PGD, through the branch that is trained with it."""
    teacher = network(branches, seed=2).requires_grad_(False).eval()
    objective = parse_objective(mode, augmix=False, attack=True, weights=Weights())
    task = make_task(network(branches, seed=1).train(), objective, teacher=teacher, attack=NFGSM, seed=5)
    before = copy.deepcopy(task.student.state_dict())
    trainable = [parameter.requires_grad for parameter in task.student.parameters()]
    plan = plan_views(task.views, branches, len(batch["label"]))
    answers = TeacherAnswers(task, plan, {"clean": batch["clean"]})
    got = attack_images(task, plan["adv"], batch["clean"], batch, 4, answers)

    assert task.student.training
    assert [parameter.requires_grad for parameter in task.student.parameters()] == trainable
    assert all(parameter.grad is None for parameter in task.student.parameters())
    assert all(torch.equal(value, before[name]) for name, value in task.student.state_dict().items())

    student, rows = copy.deepcopy(task.student).eval(), plan["adv"].rows
    x, labels = batch["clean"][rows], batch["label"][rows]
    with torch.no_grad(), use_branch(teacher, 0), use_branch(student, 0):
        target = {"pgd": None, "rslad+ce": teacher(x), "trades": student(x)}[mode]

    def loss(images: Tensor) -> Tensor:
        with use_branch(student, plan["adv"].branch):
            logits = student(images)
        if target is None:
            return F.cross_entropy(logits, labels, reduction="sum")
        return kl_divergence(logits, target, objective.attack_temperature).sum()

    want = by_hand(loss, x, sample_noise(batch["index"][rows], x.shape[1:], 5, 4))
    # A gradient near 0 may come out with another sign where kernels add in another order.
    assert ((got - want).abs() < 1e-6).float().mean() > 0.999
