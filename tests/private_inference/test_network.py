"""The links between two parties: how they are named, and what they add to a measured cost."""

from __future__ import annotations

import argparse

import pytest

from private_inference.costs.link import NETWORKS, Network, estimate, network, speed_in_words, transfer_seconds
from private_inference.engine.cost import Cost, Costs, StepCost

# Of one image: a convolution that mostly uploads, and a ReLU that mostly downloads.
CONV = StepCost("conv1", "conv", 0, Cost(3_000_000, 1_000_000, 4, 2.0), Cost(1_000_000, 500_000, 2, 0.5))
RELU = StepCost("relu", "relu", 100, Cost(10_000, 40_000, 10, 0.25), Cost(2_500, 20_000, 8, 0.125))
LINK = Network("10,100", bandwidth=10e6, rtt=0.1)


def test_names_and_numbers() -> None:
    assert network("lan") == NETWORKS["lan"] == Network("lan", 1e9, 0.001)
    assert network("wan") == NETWORKS["wan"] == Network("wan", 100e6, 0.040)
    assert network("400,4") == Network("400,4", 400e6, 0.004)
    assert network("0.5,0") == Network("0.5,0", 0.5e6, 0.0)  # a link without delay is one
    assert network(" 9,1e1 ").rtt == 0.01


@pytest.mark.parametrize(
    "text",
    [
        *("", "fast", "LAN", "400", "400,", ",4", "400,4,1", "400;4", "0,4", "-400,4", "400,-4"),
        *("nan,4", "400,nan", "inf,4", "400,inf", "-inf,4", "1e400,4", "1e-300,4"),
    ],
)
def test_what_is_no_network_is_named(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no network") as error:
        network(text)
    assert f"'{text}'" in str(error.value)
    assert "lan, wan" in str(error.value)


def test_speed_in_words() -> None:
    assert network("lan").in_words() == "lan: 1 Gbit/s, 1 ms round trip"
    assert network("wan").in_words() == "wan: 100 Mbit/s, 40 ms round trip"
    assert speed_in_words(2.5e6, 0.0005) == "2.5 Mbit/s, 0.5 ms round trip"
    assert speed_in_words(2.5e6, None) == "2.5 Mbit/s"
    assert speed_in_words(None, None) == ""


def test_a_round_is_half_a_round_trip_and_the_busier_direction_counts() -> None:
    # 4 * 50 ms, and 24 Mbit at 10 Mbit/s; the other way 8 Mbit cross at the same time.
    assert transfer_seconds(CONV.cold, LINK) == pytest.approx(0.2 + 2.4)
    # 10 * 50 ms, and 0.32 Mbit down.
    assert transfer_seconds(RELU.cold, LINK) == pytest.approx(0.5 + 0.032)
    assert transfer_seconds(Cost(seconds=3.0), LINK) == 0


def test_estimate_adds_the_link_to_measured_seconds_step_by_step() -> None:
    found = estimate(Costs((CONV, RELU)), LINK)
    # The busier direction is that of each step, for one step waits for the other.
    cold = 2.0 + (0.2 + 2.4) + 0.25 + (0.5 + 0.032)
    warm = 0.5 + (0.1 + 0.8) + 0.125 + (0.4 + 0.016)
    assert found == {"cold": pytest.approx(cold), "warm": pytest.approx(warm)}


def test_one_image_gives_no_warm_estimate() -> None:
    costs = Costs((StepCost("conv1", "conv", 0, CONV.cold), StepCost("relu", "relu", 100, RELU.cold)))
    assert estimate(costs, LINK) == {"cold": pytest.approx(2.0 + 2.6 + 0.25 + 0.532)}
    unlimited = Network("ideal", bandwidth=1e18, rtt=0.0)
    assert estimate(costs, unlimited)["cold"] == pytest.approx(costs.total("cold").seconds)
