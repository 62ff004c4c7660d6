"""The knapsack with fixed charges against brute force, on instances small enough for it; and what it refuses."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from helper.errors import UserError
from masks.seconds import OPTIONS, Knapsack, Layer, make_layer

GAP = 0.01  # of the optimum


def random_layers(rng: np.random.Generator, layers: int, units: int, sizes: tuple[int, ...] = (1,)) -> list[Layer]:
    """Scores as maps have them: a few large ones. Openings worth from nothing to most of a layer."""
    found = []
    for _ in range(layers):
        count = int(rng.integers(1, units + 1))
        each = float(rng.uniform(0.5, 2))
        size = np.full(count, rng.choice(sizes))
        opening = float(rng.exponential(0.5) * size.sum() * each)
        found.append(make_layer(rng.exponential(1, count) ** 2, size, rng.exponential(1), opening=opening, each=each))
    return found


def everything(layers: list[Layer]) -> float:
    return sum(layer.seconds(int(layer.kept[-1])) for layer in layers)


def optimum(layers: list[Layer], seconds: float) -> float:
    """By trying every number of units of every layer."""
    best = 0.0
    for counts in product(*(range(len(layer.kept)) for layer in layers)):
        pairs = list(zip(layers, counts, strict=True))
        if sum(layer.seconds(int(layer.kept[count])) for layer, count in pairs) <= seconds + 1e-9:
            best = max(best, sum(float(layer.worth[count]) for layer, count in pairs))
    return best


def best_set(layers: list[Layer], seconds: float) -> float:
    """By trying every set of open layers, each filled with what a second is worth most in, as long as it fits."""
    best = 0.0
    for chosen in product((False, True), repeat=len(layers)):
        open_layers = [layer for layer, is_open in zip(layers, chosen, strict=True) if is_open]
        room = seconds - sum(layer.opening for layer in open_layers)
        if room < 0 or not open_layers:
            continue
        costs = np.concatenate([layer.sizes * layer.each for layer in open_layers])
        gains = np.concatenate([layer.gains for layer in open_layers])
        order = np.argsort(-gains / costs, kind="stable")
        worth = 0.0
        for cost, gain in zip(costs[order], gains[order], strict=True):
            if cost <= room:
                room, worth = room - cost, worth + gain
        best = max(best, worth)
    return best


def check(layers: list[Layer], seconds: float):
    """The allocation, after what must hold of any."""
    found = Knapsack(layers).allocate(seconds)
    assert found.seconds <= seconds * (1 + 1e-6)
    assert all(0 <= kept <= layer.kept[-1] for kept, layer in zip(found.kept, layers, strict=True))
    assert found.seconds == pytest.approx(sum(a.seconds(k) for a, k in zip(layers, found.kept, strict=True)))
    assert found.worth == pytest.approx(sum(a.worth_of(k) for a, k in zip(layers, found.kept, strict=True)))
    return found


@pytest.mark.parametrize("sizes", [(1,), (1, 4, 16)])
def test_few_units_against_every_allocation(sizes):
    rng, gaps = np.random.default_rng(0), []
    for _ in range(60):
        layers = random_layers(rng, layers=4, units=5, sizes=sizes)
        low = Knapsack(layers).cheapest
        seconds = float(rng.uniform(low, everything(layers)))
        best = optimum(layers, seconds)
        gaps.append(1 - check(layers, seconds).worth / best)
    print(f"gap to the optimum: largest {100 * max(gaps):.2f} %, mean {100 * np.mean(gaps):.3f} %")
    assert max(gaps) <= GAP


@pytest.mark.parametrize(("units", "instances"), [(OPTIONS, 20), (800, 5)])
def test_many_positions_against_every_set_of_open_layers(units, instances):
    rng, gaps = np.random.default_rng(1), []
    for _ in range(instances):
        layers = random_layers(rng, layers=6, units=units)
        seconds = float(rng.uniform(Knapsack(layers).cheapest, everything(layers)))
        gaps.append(1 - check(layers, seconds).worth / best_set(layers, seconds))
    print(f"gap to the best set of open layers: largest {100 * max(gaps):.2f} %, mean {100 * np.mean(gaps):.3f} %")
    assert max(gaps) <= GAP


def test_whole_layers_against_every_set():
    rng, gaps = np.random.default_rng(2), []
    for _ in range(100):
        layers = random_layers(rng, layers=6, units=1, sizes=(16, 64, 256))
        seconds = float(rng.uniform(Knapsack(layers).cheapest, everything(layers)))
        gaps.append(1 - check(layers, seconds).worth / optimum(layers, seconds))
    print(f"gap to the optimum: largest {100 * max(gaps):.2f} %, mean {100 * np.mean(gaps):.3f} %")
    assert max(gaps) <= GAP


def test_an_open_layer_must_earn_its_opening():
    """Two layers alike but for their opening: the dear one is opened last."""
    scores, sizes = np.ones(10), np.ones(10)
    cheap, dear = (make_layer(scores, sizes, 1.0, opening=opening, each=1.0) for opening in (1.0, 5.0))
    assert Knapsack([dear, cheap]).allocate(11).kept == (0, 10)
    assert Knapsack([dear, cheap]).allocate(16.5).kept == (0, 10)
    assert sum(Knapsack([dear, cheap]).allocate(18).kept) == 12
    assert Knapsack([dear, cheap]).allocate(26).kept == (10, 10)


def test_more_seconds_are_worth_more_and_all_keep_all():
    layers = random_layers(np.random.default_rng(3), layers=8, units=300)
    frontier = Knapsack(layers).frontier(12)
    assert [found.seconds for found in frontier] == sorted(found.seconds for found in frontier)
    worth = [found.worth for found in frontier]
    assert all(later >= earlier * (1 - GAP) for earlier, later in pairwise(worth))
    assert frontier[-1].kept == tuple(int(layer.kept[-1]) for layer in layers)
    assert frontier[-1].worth == pytest.approx(Knapsack(layers).loss)


@pytest.mark.parametrize("scores", [np.zeros(12), np.ones(12)])
def test_equal_scores_are_filled_in_part(scores):
    layers = [make_layer(scores, np.ones(12), 1.0, opening=1.0, each=1.0) for _ in range(2)]
    for seconds in range(2, 27):
        kept = sum(check(layers, float(seconds)).kept)
        assert kept == (min(seconds - 1, 12) if seconds <= 14 else seconds - 2)


def test_of_ties_as_many_are_kept_as_fit():
    layers = [make_layer(np.arange(12) // 4 + 1, np.ones(12), 1.0, opening=0.0, each=1.0) for _ in range(3)]
    for seconds in range(1, 37):
        assert sum(check(layers, float(seconds)).kept) == seconds


def test_what_is_worth_nothing_stays_closed():
    layers = [make_layer(np.ones(5), np.ones(5), loss, opening=1.0, each=1.0) for loss in (1.0, 0.0, -2.0)]
    assert Knapsack(layers).allocate(100).kept == (5, 0, 0)
    assert Knapsack(layers).loss == pytest.approx(1)


def test_units_without_relus_are_none():
    layer = make_layer(np.array([3.0, 9.0, 1.0]), np.array([2, 0, 4]), 1.0, opening=0.0, each=1.0)
    assert layer.sizes.tolist() == [2, 4]
    assert layer.gains == pytest.approx([0.6, 0.4])


@pytest.mark.parametrize(("scores", "loss"), [([np.nan, 1], 1.0), ([np.inf, 1], 1.0), ([-1, 1], 1.0), ([1, 1], np.nan)])
def test_what_is_no_score_or_loss_is_refused(scores, loss):
    with pytest.raises(UserError, match="must be finite"):
        make_layer(np.array(scores, float), np.ones(2), loss, opening=1.0, each=1.0)


def test_seconds_that_open_no_layer_are_refused():
    layers = [make_layer(np.ones(3), np.full(3, 4), 1.0, opening=opening, each=0.5) for opening in (2.0, 3.0)]
    with pytest.raises(UserError, match=r"3\.99 s open no layer: the cheapest takes 4 s"):
        Knapsack(layers).allocate(3.99)
    assert sum(Knapsack(layers).allocate(4.0).kept) == 4
