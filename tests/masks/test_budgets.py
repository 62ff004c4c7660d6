"""Budgets are met in every granularity: exactly by position, to the nearest whole channel or layer otherwise."""

from __future__ import annotations

import argparse
import math

import pytest
import torch
from torch import nn

from helper.errors import UserError
from masks.allocation import relu_count, total_of
from masks.counting import hamming_distance, masks_of, relu_totals
from masks.search import Course
from masks.selection import GRANULARITIES, MaskChooser
from models.layers import MaskedReLU, relu_sites


def random_network(generator: torch.Generator) -> nn.Module:
    """Sites alone, of random shapes."""
    model = nn.Sequential()
    for _ in range(int(torch.randint(1, 5, (), generator=generator))):
        site = MaskedReLU()
        channels, size = (int(torch.randint(1, high, (), generator=generator)) for high in (9, 5))
        site.map_shape = (channels, size, size)
        site.set_mask(torch.ones(site.map_shape, dtype=torch.bool))
        model.append(site)
    return model


def some_scores(model: nn.Module, kind: str, generator: torch.Generator) -> dict[str, torch.Tensor]:
    scores = {name: torch.rand(site.map_shape, generator=generator) for name, site in relu_sites(model).items()}
    if kind == "ties":
        return {name: (score * 3).floor() for name, score in scores.items()}
    return {name: torch.zeros_like(score) for name, score in scores.items()} if kind == "equal" else scores


def unit_sizes(model: nn.Module, granularity: str) -> list[int]:
    sizes = {"position": lambda s: 1, "channel": lambda s: s.total // s.map_shape[0], "layer": lambda s: s.total}
    return [sizes[granularity](site) for site in relu_sites(model).values()]


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", ["random", "ties", "equal"])
@pytest.mark.parametrize("with_parent", [False, True])
def test_every_budget_is_met(granularity, shared, kind, with_parent):
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        model = random_network(generator)
        parent = None
        if with_parent:
            parent = {name: torch.rand(s.map_shape, generator=generator) < 0.7 for name, s in relu_sites(model).items()}
        room = [int(parent[n].sum()) if parent else site.total for n, site in relu_sites(model).items()]
        for share in (0.0, 0.1, 0.37, 1.0):
            budget = [math.floor(share * most) for most in room]
            chooser = MaskChooser(budget, granularity, shared=shared, parent=parent)
            chooser.set_masks(model, some_scores(model, kind, generator))
            kept, _ = relu_totals(model)
            assert abs(kept - sum(budget)) <= max(unit_sizes(model, granularity)) / 2, (seed, share)
            if granularity == "position":
                assert kept == sum(budget)
                assert shared or [site.kept for site in relu_sites(model).values()] == budget
            if share in (0.0, 1.0):
                assert kept == share * sum(room)
            for name, mask in masks_of(model).items():
                allowed = parent[name] if parent else torch.ones_like(mask)
                assert not (mask & ~allowed).any()
                if granularity != "position":
                    whole = (mask == allowed).flatten(1).all(1) | ~mask.flatten(1).any(1)
                    assert whole.all()


def test_the_largest_are_kept_across_layers(network):
    model = network()
    sites = relu_sites(model)
    scores = {name: torch.full(site.map_shape, float(i)) for i, (name, site) in enumerate(sites.items())}
    budget = [1] * len(sites)
    MaskChooser(budget, shared=True).set_masks(model, scores)
    assert [site.kept for site in sites.values()] == [*[0] * (len(sites) - 1), len(sites)]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_random_masks_come_from_the_seed_in_every_granularity(granularity, network):
    models = [network() for _ in range(3)]
    budget = [site.total // 2 for site in relu_sites(models[0]).values()]
    for model, seed in zip(models, (1, 1, 2), strict=True):
        MaskChooser(budget, granularity, shared=granularity == "layer").set_random_masks(model, seed)
    same, other = (hamming_distance(masks_of(models[0]), masks_of(model)) for model in models[1:])
    assert same == 0
    assert 0 < other <= 1


def test_scores_that_are_not_numbers_are_an_error(network):
    model = network()
    scores = {name: torch.zeros(site.map_shape) for name, site in relu_sites(model).items()}
    name = list(scores)[1]
    scores[name][0, 0, 0] = torch.nan
    with pytest.raises(UserError, match=f"scores of {name} hold NaN"):
        MaskChooser([1] * len(scores)).set_masks(model, scores)


def test_what_a_budget_drops_is_spared_by_the_schedule(network):
    model = network()
    sites = relu_sites(model)
    chooser = MaskChooser([site.total // 4 for site in sites.values()])
    course = Course(epochs=4, schedule="cosine")
    kept = []
    for epoch in range(5):
        chooser.set_random_masks(model, 0, course.spare(epoch))
        kept.append(relu_totals(model)[0] / relu_totals(model)[1])
    falling = [0.25 + 0.75 * (1 + math.cos(math.pi * epoch / 4)) / 2 for epoch in range(5)]
    assert kept == pytest.approx(falling, abs=1e-3)
    assert Course(epochs=4).spare(0) == 0


def test_budgets_in_thousands_and_shares(network):
    assert [relu_count(text) for text in ("82650", "50k", "12.5k", "9%")] == [82650, 50_000, 12_500, "9%"]
    assert total_of("9%", network()) == math.floor(0.09 * relu_totals(network())[1])
    for wrong in ("110%", "0.5", "12.3456k"):
        with pytest.raises(argparse.ArgumentTypeError):
            relu_count(wrong)
    with pytest.raises(ValueError, match="many"):
        relu_count("many")
