"""The attack stays in its ball, does its work, and leaves no trace in the model."""

from __future__ import annotations

import copy

import pytest
import torch
from support.memory import peak_memory
from torch.nn import functional as F

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.attack import AttackSettings
from attacks.mode import attack_mode
from attacks.pgd import signed_ascent
from evaluation.robustness import withstands
from helper.errors import UserError

EPS, STEP = 8 / 255, 2 / 255


def noise(x, *key):
    return sample_noise(torch.arange(len(x)), x.shape[1:], *key)


@pytest.fixture
def images():
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    x[0], x[1] = 0, 1  # at the border of the pixel range
    return x, torch.tensor([1, 2, 3, 4])


@pytest.mark.parametrize("start", [True, False])
def test_pgd_stays_in_its_ball_and_raises_the_loss(start, images, network):
    x, labels = images
    with attack_mode(network(), 0) as model:
        x_adv = signed_ascent(
            model,
            x,
            labels,
            eps=EPS,
            step_size=STEP,
            steps=5,
            loss=cross_entropy_per_image,
            random_start=noise(x) if start else None,
        )
        before, after = (cross_entropy_per_image(model(images), labels) for images in (x, x_adv))
    assert x_adv.dtype == torch.float32
    assert not x_adv.requires_grad
    assert (x_adv - x).abs().max() <= EPS + 1e-7
    assert x_adv.min() >= 0
    assert x_adv.max() <= 1
    assert (after > before).all()


def test_one_step_by_hand(images, network):
    x, labels = images
    model = network().eval()
    start = (x + EPS * noise(x)).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(start), labels, reduction="sum"), start)
    want = torch.min(torch.max(start + STEP * gradient.sign(), x - EPS), x + EPS).clamp(0, 1).detach()
    with attack_mode(model, 0):
        got = signed_ascent(
            model,
            x,
            labels,
            eps=EPS,
            step_size=STEP,
            steps=1,
            loss=cross_entropy_per_image,
            random_start=noise(x),
        )
    torch.testing.assert_close(got, want, rtol=0, atol=1e-6)


def test_fgsm_is_one_step_of_size_eps_from_the_image(images, network):
    x, labels = images
    model = network().eval()
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(model(leaf), labels, reduction="sum"), leaf)
    with attack_mode(model, 0):
        got = AttackSettings("fgsm", EPS, STEP, 7)(
            model, x, labels, loss=cross_entropy_per_image, random_start=lambda: noise(x)
        )
    torch.testing.assert_close(got, (x + EPS * gradient.sign()).clamp(0, 1), rtol=0, atol=1e-6)


def test_images_outside_the_pixel_range_are_refused(images, network):
    x, labels = images
    attack = AttackSettings("pgd", EPS, STEP, 1)
    assert withstands(network(), 0, x, labels, attack, labels, seed=0).shape == (4,)
    with pytest.raises(UserError, match=r"must lie in \[0, 1\].*255"):
        withstands(network(), 0, x * 255, labels, attack, labels, seed=0)


@pytest.mark.parametrize("fails", [False, True])
def test_attack_mode_leaves_no_trace(fails, images, network):
    x, labels = images
    model = network(branches=2).train()
    model.bn1.eval()  # a mixed state must come back as it was
    model.conv1.weight.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    trainable = [parameter.requires_grad for parameter in model.parameters()]

    def attack():
        with attack_mode(model, 1):
            assert not any(module.training for module in model.modules())
            assert not any(parameter.requires_grad for parameter in model.parameters())
            assert model.bn1.route == ((None, 1),)
            signed_ascent(model, x, labels, eps=EPS, step_size=STEP, steps=2, loss=cross_entropy_per_image)
            if fails:
                raise KeyError("in the middle of the attack")

    if fails:
        with pytest.raises(KeyError):
            attack()
    else:
        attack()
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == trainable
    assert model.bn1.route == ((None, 0),)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_attack_goes_through_its_branch(images, network):
    x, labels = images
    model = network(branches=2)
    results = []
    for branch in (0, 1):
        with attack_mode(model, branch):
            results.append(
                signed_ascent(model, x, labels, eps=EPS, step_size=STEP, steps=2, loss=cross_entropy_per_image)
            )
    assert not torch.equal(*results)


def test_noise_depends_on_the_image_and_the_key_alone():
    indices = torch.arange(100)
    whole = sample_noise(indices, (3, 8, 8), 5, 2)
    assert torch.equal(whole[10:20], sample_noise(indices[10:20], (3, 8, 8), 5, 2))
    assert not torch.equal(whole, sample_noise(indices, (3, 8, 8), 5, 3))
    assert not torch.equal(whole, sample_noise(indices, (3, 8, 8), 2, 5))


def test_noise_is_uniform_and_uncorrelated():
    values = sample_noise(torch.arange(2000), (3, 8, 8), 0, 1)
    assert values.min() >= -1
    assert values.max() < 1
    counts = torch.histc(values, 20, -1, 1) / values.numel() * 20
    assert (counts - 1).abs().max() < 0.03
    between_images = torch.corrcoef(values[:200].flatten(1)).fill_diagonal_(0)
    between_pixels = torch.corrcoef(values.flatten(1).T).fill_diagonal_(0)
    assert between_images.abs().max() < 0.4
    assert between_pixels.abs().max() < 0.15


def test_memory_does_not_grow_with_the_steps(images, network):
    x, labels = images
    with attack_mode(network(), 0) as model:

        def run(steps):
            return lambda: signed_ascent(
                model,
                x,
                labels,
                eps=EPS,
                step_size=STEP,
                steps=steps,
                loss=cross_entropy_per_image,
                random_start=noise(x),
            )

        run(1)()
        assert peak_memory(run(20)) <= 1.05 * peak_memory(run(1))
