"""How fast two parties are linked, and what a measured cost would take over a link of that speed."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from private_inference.engine.cost import Cost, Costs


@dataclass(frozen=True)
class Network:
    """`bandwidth` in bits per second each way, `rtt` (round trip) in seconds."""

    name: str
    bandwidth: float
    rtt: float

    def in_words(self) -> str:
        return f"{self.name}: {speed_in_words(self.bandwidth, self.rtt)}"


def speed_in_words(bandwidth: float | None, rtt: float | None) -> str:
    """100000000.0 bits per second and 0.04 seconds as '100 Mbit/s, 40 ms round trip'."""
    words = []
    if bandwidth:
        words.append(f"{bandwidth / 1e9:g} Gbit/s" if bandwidth >= 1e9 else f"{bandwidth / 1e6:g} Mbit/s")
    if rtt is not None:
        words.append(f"{1000 * rtt:g} ms round trip")
    return ", ".join(words)


# The two links that papers on private inference measure over.
NETWORKS = {
    "lan": Network("lan", bandwidth=1e9, rtt=0.001),
    "wan": Network("wan", bandwidth=100e6, rtt=0.040),
}


def network(text: str) -> Network:
    """Of argparse: lan, wan, or BANDWIDTH,RTT in Mbit/s and milliseconds, such as 400,4."""
    if text in NETWORKS:
        return NETWORKS[text]
    try:
        bandwidth, rtt = (float(part) for part in text.split(","))
    except ValueError:
        bandwidth, rtt = 0.0, 0.0
    # Not `<=`: that lets NaN pass.
    if not (1e-6 <= bandwidth < 1e9 and 0 <= rtt < 1e9):
        raise argparse.ArgumentTypeError(
            f"'{text}' is no network: {', '.join(NETWORKS)}, or Mbit/s and milliseconds round trip, such as 400,4"
        )
    return Network(text, bandwidth * 1e6, rtt / 1e3)


def transfer_seconds(cost: Cost, link: Network) -> float:
    """What the link alone adds to `cost`: each round one way through it, and the bytes of the busier direction."""
    return cost.rounds * link.rtt / 2 + 8 * max(cost.upload, cost.download) / link.bandwidth


def estimate(costs: Costs, link: Network) -> dict[str, float]:
    """{'cold': seconds, 'warm': seconds} of one image: the seconds measured without a network, and what `link` adds."""
    return {
        state: sum(step.at(state).seconds + transfer_seconds(step.at(state), link) for step in costs.steps)
        for state in costs.states
    }
