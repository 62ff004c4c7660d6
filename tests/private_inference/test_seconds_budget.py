"""Budgets in seconds are priced as the estimator prices networks, and their masks cost what was planned."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from helper.errors import UserError
from masks.allocation import allocate_budget
from masks.selection import GRANULARITIES, MaskChooser
from models import build_model
from models.layers import Network, relu_sites
from private_inference.costs.estimate import load_constants, rough_costs, rough_seconds
from private_inference.costs.link import NETWORKS
from private_inference.costs.prices import relu_prices
from private_inference.costs.seconds_budget import SecondsPlanner, Worth
from private_inference.engine.protocols import PROTOCOLS, EngineSettings, settle_set_up
from private_inference.program.comparison import in_bits
from private_inference.program.trace import build_program

WAN = NETWORKS["wan"]


def settings_of(protocol: str = "cheetah", comparison: int = 32, batch: int = 1) -> EngineSettings:
    return EngineSettings(protocol, comparison, batch, settle_set_up(protocol, "yacl"))


def planner_of(network: Network, granularity: str = "position", link=WAN) -> SecondsPlanner:
    generator = torch.Generator().manual_seed(0)
    sites = relu_sites(network)
    scores = {name: torch.rand(site.map_shape, generator=generator) ** 3 for name, site in sites.items()}
    worth = Worth(scores, [1.0 + number for number in range(len(sites))], "held-out loss")
    prices = relu_prices(network, load_constants().protocols["cheetah"], settings_of())
    return SecondsPlanner(network, prices, worth, link, granularity)


@pytest.mark.parametrize(("protocol", "comparison", "batch"), list(product(PROTOCOLS, (32, 64), (1, 4))))
def test_prices_add_up_to_the_estimate(protocol, comparison, batch, network):
    model, settings = network(), settings_of(protocol, comparison, batch)
    constants = load_constants().protocols[protocol]
    prices = relu_prices(model, constants, settings, fused=False)
    assert [price.layer for price in prices.layers] == list(relu_sites(model))
    for seed, share in enumerate((1.0, 0.3, 0.0)):
        budget = [int(share * site.total) for site in relu_sites(model).values()]
        budget[1] = 0
        MaskChooser(budget).set_random_masks(model, seed)
        costs = rough_costs(in_bits(build_program(model), comparison), constants, settings)
        for link in NETWORKS.values():
            found = rough_seconds(costs, link, sum(budget))
            cost = prices.cost(budget)
            assert cost.bytes == pytest.approx(found["bytes"])
            assert cost.rounds == pytest.approx(found["rounds"])
            assert prices.seconds(budget, link) == pytest.approx(found["seconds"]["total"])
    assert (prices.set_up is None) == (costs.set_up is None)


@pytest.mark.parametrize("name", ["vgg11", "MobileNetV2"])
def test_other_families_have_a_price_for_every_layer(name):
    model = build_model(name, num_classes=10, image_size=32)
    prices = relu_prices(model, load_constants().protocols["cheetah"], settings_of())
    assert [price.layer for price in prices.layers] == list(relu_sites(model))
    assert [price.total for price in prices.layers] == [site.total for site in relu_sites(model).values()]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_masks_of_a_plan_take_its_seconds(granularity, network):
    model = network()
    planner = planner_of(model, granularity)
    sites = relu_sites(model)
    most = planner.prices.seconds([site.total for site in sites.values()], WAN)
    for share in (0.2, 0.5, 0.9, 1.0):
        asked = planner.linear + planner.knapsack.cheapest + share * (most - planner.linear - planner.knapsack.cheapest)
        kept = planner.plan(asked).kept
        assert planner.describe(kept)["seconds"] <= asked * (1 + 1e-9)
        MaskChooser(kept, granularity).set_random_masks(model, 0)
        assert [site.kept for site in sites.values()] == list(kept)
    assert list(kept) == [site.total for site in sites.values()]


def test_a_closed_layer_stays_closed_in_whole_channels(network):
    """What a layer's channels leave over must not open one whose rounds the plan has saved."""
    model = network()
    sites = list(relu_sites(model).values())
    budget = [0 if number % 2 else site.total // 3 + 7 for number, site in enumerate(sites)]
    MaskChooser(budget, "channel").set_random_masks(model, 0)
    assert [site.kept > 0 for site in sites] == [count > 0 for count in budget]
    open_sizes = [site.total // site.map_shape[0] for site, count in zip(sites, budget, strict=True) if count]
    assert abs(sum(site.kept for site in sites) - sum(budget)) <= max(open_sizes) / 2


def test_a_plan_is_worth_more_than_as_many_relus_without_prices(network):
    model = network()
    planner = planner_of(model)
    found = planner.plan(planner.linear + 0.6)
    plain = allocate_budget(model, sum(found.kept), [1.0] * len(found.kept))
    cheap, dear = planner.describe(found.kept), planner.describe(plain)
    assert cheap["seconds"] < dear["seconds"]
    within = planner.plan(dear["seconds"])
    assert planner.describe(within.kept)["loss"] <= dear["loss"]


def test_the_masks_of_a_network_bound_its_budget(network):
    model = network()
    MaskChooser([site.total // 4 for site in relu_sites(model).values()]).set_random_masks(model, 0)
    planner = planner_of(model)
    kept = planner.plan(1e6).kept
    assert list(kept) == [site.kept for site in relu_sites(model).values()] == list(planner.available)


@pytest.mark.slow
def test_about_so_many_relus(network):
    planner = planner_of(network())
    for relus in (500, 20_000):
        found = planner.nearest(relus)
        assert sum(found.kept) >= relus
        assert sum(planner.plan(planner.linear + found.seconds * 0.99).kept) < relus


def test_too_few_seconds_say_how_many_it_takes(network):
    planner = planner_of(network())
    least = planner.linear + planner.knapsack.cheapest
    with pytest.raises(
        UserError, match=rf"1 s over wan: all but the ReLUs takes {planner.linear:.4g} s, which no budget"
    ):
        planner.plan(1)
    with pytest.raises(UserError, match=f"ask for {least:.4g} s or more"):
        planner.plan(least - 1e-3)
    assert sum(planner.plan(least).kept) >= 1


def test_sensitivities_that_are_all_zero_are_refused(network):
    model = network()
    prices = relu_prices(model, load_constants().protocols["cheetah"], settings_of())
    scores = {name: torch.ones(site.map_shape) for name, site in relu_sites(model).items()}
    worth = Worth(scores, [0.0, -1.0, *[0.0] * (len(scores) - 2)], "held-out loss")
    with pytest.raises(UserError, match="nothing to buy"):
        SecondsPlanner(model, prices, worth, WAN)
    worth = replace(worth, scores={name: score * torch.nan for name, score in scores.items()})
    with pytest.raises(UserError, match="hold NaN"):
        SecondsPlanner(model, prices, worth, WAN)
