"""PGD in the L2 ball: it keeps to its ball, fills it evenly, follows its formula, and goes where the loss is higher."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.attack import AttackSettings, attack_named
from attacks.mode import attack_mode
from attacks.pgd_l2 import in_unit_ball, norms, unit

EPS, STEP = 0.5, 0.1
PGD_L2 = AttackSettings("pgd_l2", EPS, STEP, 5)


@pytest.fixture
def images():
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x[0], x[1] = 0, 1  # at the border of the pixel range
    return x, torch.tensor([1, 2, 3, 4])


def noise(x, *key):
    return sample_noise(torch.arange(len(x)), x.shape[1:], *key)


@pytest.mark.parametrize(("steps", "step_size"), [(5, STEP), (2, 10 * EPS)])
def test_it_stays_in_its_ball_and_raises_the_loss(steps, step_size, images, network):
    x, labels = images
    settings = AttackSettings("pgd_l2", EPS, step_size, steps)
    with attack_mode(network(), 0) as model:
        x_adv = settings(model, x, labels, loss=cross_entropy_per_image, random_start=lambda: noise(x))
        before, after = (cross_entropy_per_image(model(images), labels) for images in (x, x_adv))
    distance = norms(x_adv - x).flatten()
    assert distance.max() <= EPS * (1 + 1e-5)
    assert distance[2:].min() > 0.5 * EPS
    assert x_adv.dtype == torch.float32
    assert not x_adv.requires_grad
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (after > before)[2:].all()


def test_one_step_by_hand(images, network):
    x, labels = images
    model = network().eval()
    start = (x + EPS * in_unit_ball(noise(x))).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(start), labels, reduction="sum"), start)
    moved = start.detach() + STEP * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1) - x
    length = moved.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    want = (x + moved * (EPS / length).clamp(max=1)).clamp(0, 1)
    with attack_mode(model, 0):
        settings = AttackSettings("pgd_l2", EPS, STEP, 1)
        got = settings(model, x, labels, loss=cross_entropy_per_image, random_start=lambda: noise(x))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_starts_fill_the_ball_evenly():
    points = in_unit_ball(sample_noise(torch.arange(20_000), (3, 1, 1), 0)).flatten(1)
    radius = points.norm(dim=1)
    # In three dimensions a share r^3 of the volume lies within r.
    assert (torch.histc(radius.double() ** 3, 10, 0, 1) / 2000 - 1).abs().max() < 0.1
    assert radius.max() <= 1
    assert points.mean(0).abs().max() < 0.02
    assert torch.corrcoef(points.T).fill_diagonal_(0).abs().max() < 0.03
    extreme = in_unit_ball(torch.tensor([-1.0, 1 - 2.0**-23]).repeat(3, 2, 2, 1))  # the ends of what noise can be
    assert extreme.isfinite().all()


def test_no_gradient_is_no_step_and_a_tiny_one_is_a_whole_step():
    gradient = torch.zeros(3, 3, 4, 4)
    gradient[1] = 1e-30
    gradient[2, 0, 0, 0] = -3e20
    torch.testing.assert_close(norms(unit(gradient)).flatten(), torch.tensor([0.0, 1.0, 1.0]))


def test_an_image_meets_one_start_in_any_batch(images, network):
    x, labels = images
    entry = attack_named("pgd_l2")
    with attack_mode(network(), 0) as model:
        together = entry.withstood(PGD_L2, model, x, labels, torch.arange(4), 3)
        alone = [entry.withstood(PGD_L2, model, x[[i]], labels[[i]], torch.tensor([i]), 3) for i in range(4)]
    assert torch.equal(together, torch.cat(alone))
