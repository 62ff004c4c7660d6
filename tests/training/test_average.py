"""The average of the weights is its recursion, in every branch and under the masks as they stand."""

from __future__ import annotations

import copy

import pytest
import torch

from formats.checkpoint import AverageRecord
from masks.counting import masks_of
from masks.selection import set_random_masks
from models.layers import Network, relu_sites
from training.average import WeightAverage


def train(network: Network, step: int) -> None:
    """What a training step does to weights, statistics and counters, without one."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.mul_(0.9).add_(torch.rand(buffer.shape, generator=generator), alpha=0.1)
            if name.endswith("num_batches_tracked"):
                buffer.add_(1)


def averaged_state(network: Network) -> dict[str, torch.Tensor]:
    state = {name: value for name, value in network.state_dict().items() if value.is_floating_point()}
    return copy.deepcopy(state)


@pytest.mark.parametrize("decay", [0.25, 0.999])
def test_the_average_is_its_recursion(decay, network):
    source = network(branches=2).train()
    average = WeightAverage(source, decay)
    want = averaged_state(source)
    assert any(name.endswith("branches.1.running_var") for name in want)
    for update in range(4):
        train(source, update)
        average.update()
        d = min(decay, (1 + update) / (10 + update))
        now = averaged_state(source)
        want = {name: d * value + (1 - d) * now[name] for name, value in want.items()}
    got = averaged_state(average.network)
    assert got.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(got[name], value, rtol=1e-5, atol=1e-6)
        assert not torch.equal(value, now[name]), name
    assert not average.network.training
    assert source.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert all(parameter.requires_grad for parameter in source.parameters())


def test_masks_are_those_of_the_source(network):
    source = network()
    average = WeightAverage(source, 0.9)
    set_random_masks(source, [500] * len(relu_sites(source)), seed=3)
    average.take_masks()
    ours, theirs = masks_of(average.network), masks_of(source)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(average.network(x), source.eval()(x))  # the floors that follow from the masks, too


def test_an_average_that_is_put_back_goes_on_as_it_was(network):
    source = network(branches=2)
    set_random_masks(source, [500] * len(relu_sites(source)), seed=3)
    whole = WeightAverage(source, 0.999)
    for step in range(2):
        train(source, step)
        whole.update()
    resumed = WeightAverage(network(branches=2, seed=9), 0.999)
    resumed.source.load_state_dict(source.state_dict())
    resumed.restore(AverageRecord(**copy.deepcopy(whole.state_dict())), "x.pth")
    for average in (whole, resumed):
        train(average.source, 2)
        average.update()
    want = whole.network.state_dict()
    assert all(torch.equal(value, want[name]) for name, value in resumed.network.state_dict().items())
