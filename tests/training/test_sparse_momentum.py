"""Weights are pruned, shared out and grown as by hand; a layer keeps one at least, the network as many as ever."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from support.plans import ROBUST
from support.runs import plan_of

from helper.errors import UserError
from models.layers import Network
from models.weights import describe_weights, weights_of_layers
from training.average import WeightAverage
from training.sparse_momentum import (
    GROWTH,
    PRUNE,
    REDISTRIBUTION,
    Layer,
    SparseMomentum,
    Sparsity,
    move,
)

RULES = Sparsity(density=0.05, growth="momentum", prune="magnitude", redistribution="momentum", prune_rate=0.5)


def layer_of(weight: list[float], momentum: list[float] | None = None) -> Layer:
    """Weights that are 0 are not kept."""
    values = torch.tensor(weight)
    moments = torch.tensor(momentum) if momentum else torch.zeros(len(weight))
    return Layer(values, values != 0, moments, moments)


def moved(layers: list[Layer], rate: float = 0.5, **rules: str) -> list[list[int]]:
    """The places of the weights that each layer keeps."""
    chosen = replace(RULES, **{"redistribution": "none", **rules})
    found = move(layers, chosen, rate, torch.Generator().manual_seed(0))
    return [part.nonzero().flatten().tolist() for part in found]


@pytest.mark.parametrize(
    ("prune", "weights", "rate", "stays"),
    [
        ("magnitude", [[4.0, -3.0, 2.0, -1.0, 0.0]], 0.5, [[0, 1]]),
        ("magnitude", [[1.0, 1.0, 1.0]], 0.5, [[0, 1]]),  # ties by position; a third would be a half too much
        ("magnitude", [[5.0, 0.0, 0.0]], 1.0, [[0]]),
        ("SET", [[4.0, 1.0, -3.0, -2.0, 0.0]], 0.5, [[0, 2]]),
        ("SET", [[1.0, 2.0, 3.0, -4.0]], 0.75, [[2]]),
        ("SET", [[-1.0, -2.0, -3.0, 0.0]], 0.7, [[2]]),
        ("global_magnitude", [[1.0, 2.0, 0.0], [10.0, 20.0, 30.0]], 0.5, [[1], [1, 2]]),
    ],
)
def test_what_layers_lose(prune, weights, rate, stays):
    found = PRUNE[prune]([layer_of(weight) for weight in weights], rate)
    assert [part.nonzero().flatten().tolist() for part in found] == stays


@pytest.mark.parametrize(
    ("redistribution", "kept"),
    [
        ("none", (2, 4)),  # one and two were lost
        ("nonzeros", (2, 4)),
        ("momentum", (3, 3)),  # mean momentum of what was kept: 6 against 3 of 3 weights
        ("magnitude", (1, 5)),  # mean weights: 1.5 against 10 of 3 weights
    ],
)
def test_what_was_lost_is_shared_out(redistribution, kept):
    first = layer_of([1.0, 2.0, *[0.0] * 4], [6.0, -6.0, 9.0, 8.0, 0.0, 0.0])
    second = layer_of([5.0, -5.0, 20.0, 10.0, *[0.0] * 4], [3.0, 3.0, -3.0, 3.0, 1.0, 1.0, 2.0, 1.0])
    found = moved([first, second], redistribution=redistribution)
    assert tuple(map(len, found)) == kept


def test_weights_grow_where_the_momentum_is_largest():
    layer = layer_of([4.0, 3.0, 2.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 5.0, 1.0, -7.0, 6.0])
    assert moved([layer]) == [[0, 1, 5, 6]]  # two are lost, and the last of them would have come back as the third
    assert moved([layer], growth="gradient") == [[0, 1, 5, 6]]
    alike = layer_of([*[1.0] * 10, *[0.0] * 90])
    assert moved([alike]) == [list(range(10))]  # ties by position
    assert moved([alike], growth="random") != [list(range(10))]


def test_a_full_layer_leaves_its_share_to_the_others():
    full = layer_of([1.0, 2.0, 3.0, 4.0], [9.0] * 4)
    empty = layer_of([5.0, 6.0, *[0.0] * 8], [1e-3, 1e-3, *[0.0] * 7, 1.0])
    assert moved([full, empty], redistribution="momentum") == [[0, 1, 2, 3], [1, 9]]


@pytest.mark.parametrize("rules", list(itertools.product(GROWTH, PRUNE, REDISTRIBUTION)))
def test_the_network_keeps_as_many_weights_as_ever(rules):
    generator = torch.Generator().manual_seed(1)
    layers = []
    for size in (1, 7, 50, 400, 3000):
        weight, momentum = torch.randn(2, size, generator=generator)
        kept = torch.rand(size, generator=generator) < 0.3
        kept[0] = True
        layers.append(Layer(weight * kept, kept, momentum, momentum.flip(0)))
    chosen = dict(zip(("growth", "prune", "redistribution"), rules, strict=True))
    for rate in (0.0, 0.5, 1.0):
        found = moved(layers, rate, **chosen)
        assert sum(map(len, found)) == sum(layer.count for layer in layers)
        assert min(map(len, found)) > 0
    assert moved(layers, 0.0, **chosen) == [layer.kept.nonzero().flatten().tolist() for layer in layers]


def test_less_moves_as_the_run_goes_on():
    rates = [RULES.rate(epoch, 10) for epoch in range(11)]
    assert rates == sorted(rates, reverse=True)
    assert (rates[0], rates[5], rates[10]) == pytest.approx((0.5, 0.25, 0.0))


def optimizer_of(network: Network, rules: Sparsity = RULES) -> SparseMomentum:
    return SparseMomentum(list(network.parameters()), network, rules, seed=3, lr=0.1, momentum=0.9, weight_decay=5e-4)


def train(network: Network, optimizer: SparseMomentum, step: int) -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(step))
    network(images).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def counts(network: Network) -> dict[str, int]:
    return {layer["layer"]: layer["kept"] for layer in describe_weights(network)["layers"]}


def test_weights_that_are_not_kept_stay_0_and_have_a_momentum(network):
    student = network().train()
    sizes = {name.removesuffix(".weight"): weight.numel() for name, weight in weights_of_layers(student).items()}
    assert describe_weights(student) is None  # dense
    largest = {name: weight.abs().argmax() for name, weight in weights_of_layers(student).items()}
    optimizer = optimizer_of(student)
    assert all(optimizer.kept[name].flatten()[place] for name, place in largest.items())
    for step in range(2):
        train(student, optimizer, step)
        assert counts(student) == {name: round(0.05 * size) for name, size in sizes.items()}
    weight = student.conv1.weight
    grown = optimizer.state[weight]["momentum_buffer"][~optimizer.kept["conv1.weight"]]
    assert grown.abs().max() > 0
    assert all(parameter.count_nonzero() for name, parameter in student.named_parameters() if "bn" in name)


@pytest.mark.parametrize("growth", GROWTH)
def test_a_run_that_is_put_back_moves_the_same_weights(growth, network):
    rules = replace(RULES, growth=growth)
    student = network().train()
    optimizer = optimizer_of(student, rules)
    for step in range(2):
        train(student, optimizer, step)
    before = sum(counts(student).values())
    other = network(seed=9).train()
    resumed = optimizer_of(other, rules)
    other.load_state_dict(student.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    ends = []
    for model, sgd in ((student, optimizer), (other, resumed)):
        assert 0 < sgd.end_epoch(1, 4) <= 0.5
        assert sum(int(kept.sum()) for kept in sgd.kept.values()) == before
        train(model, sgd, 2)
        ends.append(model.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


def test_an_average_has_the_same_zeros(network):
    student = network().train()
    optimizer = optimizer_of(student)
    average = WeightAverage(student, 0.9)
    for step in range(2):
        train(student, optimizer, step)
        average.update()
    optimizer.end_epoch(1, 4)
    optimizer.zero_dropped(average.network)
    for step in range(2, 4):
        train(student, optimizer, step)
        average.update()
    for name, weight in weights_of_layers(average.network).items():
        assert torch.equal(weight != 0, optimizer.kept[name])


def test_what_is_settled_and_what_cannot_be(stage2):
    sparse = f"{stage2.removesuffix(' --dense')} {ROBUST}"
    assert plan_of(f"{stage2} {ROBUST}").optimisation.sparsity is None
    plan = plan_of(f"{sparse} --density 0.1 --prune SET --prune-rate 0.3 --long_names")
    assert plan.optimisation.sparsity == Sparsity(0.1, "momentum", "SET", "momentum", 0.3)
    assert plan.identity["density"] == 0.1
    assert plan.run.folder.name.endswith("_density0.1")
    with pytest.raises(UserError, match="--density 0 leaves no weights"):
        plan_of(f"{sparse} --density 0")
    with pytest.raises(UserError, match="needs --momentum above 0"):
        plan_of(f"{sparse} --momentum 0")
    plan_of(f"{sparse} --momentum 0 --growth random --redistribution none")
    with pytest.raises(SystemExit):
        plan_of(f"{stage2} {ROBUST} --density 0.1")
