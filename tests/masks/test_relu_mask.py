"""Budgets are met exactly, ties or not, and the search keeps the positions that it measured as the largest."""

from __future__ import annotations

import pytest
import torch
from support.networks import EVERY_ARCHITECTURE, feature_gap

from attacks.attack import AttackSettings
from helper.errors import UserError
from helper.processes import Processes
from masks.allocation import allocate_budget, budget_from_fractions, interpolate_profile
from masks.counting import hamming_distance, masks_of, relu_counts, relu_totals
from masks.selection import keep_largest, set_random_masks
from masks.watching import site_maps
from models import build_model, student_name
from models.layers import MaskedReLU, relu_sites, use_branch
from sensitivity import budget_names, load_budget, load_profile
from training import step
from training.meter import EpochMeter
from training.objective import Weights, parse_objective

KEPT = {
    "ResNet18_C10_relu82k_sensitivity": 82_650,
    "ResNet18_c100_relu50k_sensitivity": 49_967,
    "ResNet18_c100_relu25k_sensitivity": 25_321,
    "ResNet18_c100_relu100k_sensitivity": 99_982,
    "VGG16bn_C10_relu12.5k_sensitivity": 5_671,
    "ResNet18_imagenet_relu300k_sensitivity": 301_852,
    "ResNet18_tiny_imagenet_relu150k_sensitivity": 149_991,
}


@pytest.fixture(scope="module")
def model_of():
    built = {}

    def get(name, image_size):
        if (name, image_size) not in built:
            built[name, image_size] = build_model(name, num_classes=10, image_size=image_size)
        return built[name, image_size]

    return get


def test_there_are_twenty_named_budgets():
    assert len(budget_names()) == 20


@pytest.mark.parametrize("name", budget_names())
def test_named_budgets_fit_their_model(name, model_of):
    named = load_budget(name)
    model = model_of(named.model, named.image_size)
    budget = budget_from_fractions(model, named.fractions, name)
    assert sum(budget) == KEPT.get(name, sum(budget))
    assert 0 < sum(budget) < relu_totals(model)[1]


def test_random_masks_meet_a_named_budget_exactly():
    model = build_model("ResNet18", num_classes=10, image_size=32)
    budget = budget_from_fractions(model, load_budget("ResNet18_C10_relu82k_sensitivity").fractions, "list")
    set_random_masks(model, budget, seed=3)
    assert [count.kept for count in relu_counts(model)] == budget


@pytest.mark.parametrize("count", [0, 1, 7, 99, 100])
@pytest.mark.parametrize("scores", [torch.zeros(4, 5, 5), torch.arange(100.0).view(4, 5, 5) // 10])
def test_ties_are_broken_by_position(count, scores):
    mask = keep_largest(scores, count)
    assert mask.sum() == count
    kept, dropped = scores[mask], scores[~mask]
    if 0 < count < 100:
        assert kept.min() >= dropped.max()
        tied = scores.flatten() == kept.min()
        among_tied = mask.flatten()[tied]
        assert torch.equal(among_tied, torch.arange(len(among_tied)) < among_tied.sum())


@pytest.mark.parametrize("total", [0, 1, 17, 4_999, 37_683, 120_000, 188_415, 188_416])
def test_any_total_is_allocated_exactly(total, model_of):
    model = model_of("resnet20", 32)
    profile = interpolate_profile(load_profile("ResNet18")[0], len(relu_sites(model)))
    budget = allocate_budget(model, total, profile)
    assert sum(budget) == total
    assert all(0 <= kept <= site.total for kept, site in zip(budget, relu_sites(model).values(), strict=True))


def test_allocation_follows_the_rule(model_of):
    model = model_of("ResNet18", 32)
    profile, own = load_profile("ResNet18")
    assert own
    budget = allocate_budget(model, 100_000, profile)
    sizes = [site.total for site in relu_sites(model).values()]
    open_layers = [layer for layer, (kept, size) in enumerate(zip(budget, sizes, strict=True)) if kept < size]
    kappa = budget[open_layers[-1]] / profile[open_layers[-1]]
    for kept, size, eta in zip(budget, sizes, profile, strict=True):
        assert abs(kept - min(size, kappa * eta)) <= 2
    # The published 100k list, which the rule was read from.
    published = budget_from_fractions(model, load_budget("ResNet18_c100_relu100k_sensitivity").fractions, "list")
    assert max(abs(a - b) / b for a, b in zip(budget, published, strict=True)) < 0.03


def test_wrong_budgets_are_refused_by_name(model_of):
    model = model_of("ResNet18", 32)
    with pytest.raises(UserError, match="names 13 ReLU layers, this network has 17"):
        budget_from_fractions(model, [0.5] * 13, "--sensitivity x")
    with pytest.raises(UserError, match=r"1\.5 is no fraction"):
        budget_from_fractions(model, [1.5] * 17, "--sensitivity x")
    for total in (-1, 557_057):
        with pytest.raises(UserError, match=f"--relu_budget {total}: this network has 557056 ReLUs"):
            allocate_budget(model, total, [1.0] * 17)
    with pytest.raises(UserError, match=r"no such budget; known are .*ResNet18_C10_relu82k_sensitivity"):
        load_budget("ResNet18_C10_relu83k_sensitivity")


def test_a_foreign_yaml_file_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("fractions: none\n")
    with pytest.raises(UserError, match=r"x\.yaml: not a budget file, or a damaged one: it lacks label"):
        load_budget(str(tmp_path / "x.yaml"))


def test_random_masks_come_from_the_seed(network):
    first, second, other = network(), network(), network()
    budget = [100] * len(relu_sites(first))
    set_random_masks(first, budget, seed=1)
    set_random_masks(second, budget, seed=1)
    set_random_masks(other, budget, seed=2)
    assert hamming_distance(masks_of(first), masks_of(second)) == 0
    assert hamming_distance(masks_of(first), masks_of(other)) > 0


def test_masks_of_channels_and_of_positions_are_compared_by_positions(network):
    by_channel, by_position, full = network(), network(), network()
    for site in relu_sites(by_channel).values():
        site.set_mask(torch.arange(site.map_shape[0]).view(-1, 1, 1) % 4 > 0)
    for site, other in zip(relu_sites(by_position).values(), relu_sites(by_channel).values(), strict=True):
        site.set_mask(other.mask.expand(site.map_shape))
    first = next(iter(relu_sites(by_position).values()))
    first.set_mask(~first.mask)
    share = first.total / sum(site.total for site in relu_sites(full).values())
    channels, positions = masks_of(by_channel), masks_of(by_position)
    assert hamming_distance(channels, masks_of(full)) == 0.25
    assert hamming_distance(channels, positions) == hamming_distance(positions, channels) == share
    raw = {name: site.mask for name, site in relu_sites(by_channel).items()}
    assert hamming_distance(raw, positions) == hamming_distance(positions, raw) == share


def test_search_keeps_the_largest_differences(network):
    student = network()
    sites = relu_sites(student)
    search = feature_gap(student, 5)
    generator = torch.Generator().manual_seed(0)
    sums = {}
    for _ in range(3):
        teacher, own = (
            {name: torch.randn(2, *site.map_shape, generator=generator) for name, site in sites.items()}
            for _ in range(2)
        )
        search.observe(teacher, own)
        for name in sites:
            sums[name] = sums.get(name, 0) + (teacher[name] - own[name]).abs().sum(0)
    moved = search.end_epoch()
    for name, site in sites.items():
        largest = sums[name].flatten().topk(5).indices
        assert site.kept == 5
        assert site.mask.flatten()[largest].all()
    # From all true to 5 a layer: everything else has changed.
    assert moved.distance == pytest.approx(1 - 5 * len(sites) / sum(site.total for site in sites.values()))
    assert all(total.abs().max() == 0 for total in search.sums.values())


@pytest.mark.parametrize("view", ["clean", "adv"])
@pytest.mark.parametrize("branches", [1, 2, 3])
@pytest.mark.parametrize("before_relu", [True, False])
def test_search_compares_the_maps_of_its_view(view, branches, before_relu, network, batch, make_task, monkeypatch):
    student, teacher = network(branches, seed=1), network(branches, seed=2).eval()
    set_random_masks(student, [500] * len(relu_sites(student)), seed=0)
    objective = parse_objective("rslad+ce+advattn", augmix=True, attack=True, weights=Weights())
    rows = {
        1: {"clean": (0, 6), "adv": (0, 6)},
        2: {"clean": (0, 3), "adv": (3, 6)},
        3: {"clean": (0, 2), "adv": (4, 6)},
    }
    start, stop = rows[branches]["adv"]
    x_adv = torch.rand(stop - start, 3, 32, 32)
    monkeypatch.setattr(step, "attack_images", lambda *_: x_adv)
    images = x_adv if view == "adv" else batch["clean"][slice(*rows[branches]["clean"])]
    branch = branches - 1 if view == "adv" else 0
    reference = network(branches, seed=1).train()
    reference.load_state_dict(student.state_dict())
    with use_branch(reference, branch), use_branch(teacher, branch):
        with site_maps(reference, before_relu=before_relu) as own:
            reference(images)
        with site_maps(teacher) as taught:
            teacher(images)
    search = feature_gap(student, 500, view=view, before_relu=before_relu)
    task = make_task(
        student.train(), objective, teacher=teacher, search=search, attack=AttackSettings("pgd", 0.1, 0.1, 1)
    )
    step.training_loss(task, batch, 0, EpochMeter(torch.device("cpu")))
    for name, total in search.sums.items():
        want = (taught[name] - own[name]).abs().sum(0)
        torch.testing.assert_close(total, want, rtol=1e-3, atol=1e-3)
    assert not any(site._forward_hooks for site in student.modules() if isinstance(site, MaskedReLU))


def test_search_state_survives(network):
    student = network()
    search = feature_gap(student, 5)
    for total in search.sums.values():
        total.uniform_()
    state = search.state_dict()
    other = feature_gap(network(), 5)
    other.load_state_dict(state, Processes(0, 1, torch.device("cpu")).is_main)
    assert all(torch.equal(other.sums[name], total) for name, total in search.sums.items())


@pytest.mark.parametrize("architecture", EVERY_ARCHITECTURE)
def test_every_architecture_can_be_masked(architecture):
    torch.manual_seed(0)
    model = build_model(student_name(architecture), num_classes=10, image_size=32)
    sites = relu_sites(model)
    total = sum(site.total for site in sites.values())
    profile, own = load_profile(architecture)
    budget = allocate_budget(model, total // 7, profile if own else interpolate_profile(profile, len(sites)))
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    # By batch statistics: by those of an untrained network, MobileNetV2's signal dies out over its 52 layers.
    with torch.no_grad():
        plain = model.train()(x)
        set_random_masks(model, budget, seed=0)
        masked = model(x)
    assert relu_totals(model) == (total // 7, total)
    assert torch.isfinite(masked).all()
    assert (plain - masked).abs().max() > 0.1 * plain.abs().max()
