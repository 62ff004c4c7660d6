"""Private inference priced by its ReLUs: what no budget saves, what an open layer takes, and what each ReLU takes.

The sum is the estimate of costs/estimate.py, whose constants are linear in the values that a layer compares. Where
closed layers let linear ones be fused, the network takes less than this.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch

from models.layers import Network, relu_sites
from private_inference.costs.estimate import Constants, cost_of, rough_costs, sized_steps
from private_inference.costs.link import Network as Link
from private_inference.costs.link import transfer_seconds
from private_inference.engine.cost import Cost, StepCost, total
from private_inference.engine.protocols import EngineSettings
from private_inference.program.comparison import in_bits
from private_inference.program.fuse import fuse
from private_inference.program.trace import build_program


@dataclass(frozen=True)
class LayerPrice:
    """Of a ReLU layer of `total` ReLUs: `opening` as soon as it keeps any, and `each` for every one that it keeps."""

    layer: str
    total: int
    opening: Cost
    each: Cost


@dataclass(frozen=True)
class ReluPrices:
    """Of an image. `rest`: the steps that no budget changes; `set_up`: once, before the first image."""

    rest: tuple[StepCost, ...]
    layers: tuple[LayerPrice, ...]
    set_up: Cost | None

    def cost(self, kept: Sequence[int]) -> Cost:
        """Bytes, rounds and seconds without a network, where the layers keep so many ReLUs."""
        found = [step.at("warm") for step in self.rest]
        for price, count in zip(self.layers, kept, strict=True):
            found += [price.opening, scaled(price.each, count)] if count else []
        return total(found)

    def linear_seconds(self, link: Link) -> float:
        """T_linear: what stays where no ReLU is kept, over that link."""
        return sum(seconds_over(step.at("warm"), link) for step in self.rest)

    def seconds(self, kept: Sequence[int], link: Link) -> float:
        relus = zip(self.layers, kept, strict=True)
        return self.linear_seconds(link) + sum(
            seconds_over(price.opening, link) + count * seconds_over(price.each, link)
            for price, count in relus
            if count
        )


def relu_prices(
    network: Network, constants: Constants, settings: EngineSettings, *, branch: int = 0, fused: bool = True
) -> ReluPrices:
    """Of `network` with any masks, which are left out of account; all comparisons are in settings.comparison bits.

    `constants`: those of the protocol. Raises UserError for a kind of step that was never measured.
    """
    network = without_masks(network)
    program = build_program(network, branch)
    program = in_bits(fuse(program) if fused else program, settings.comparison)
    costs = rough_costs(program, constants, settings)
    per_comparison = {"comparisons": 1}
    ahead = cost_of(constants.get("correlations", {}), per_comparison)
    layers, rest = [], []
    for step, group, grows in sized_steps(program, settings):
        if step.kind == "relu":
            nothing = dict.fromkeys(grows, 0.0)
            opening = cost_of(constants[group], grows | {"comparisons": 0.0})
            each = cost_of(constants[group], nothing | per_comparison) + ahead
            layers.append(LayerPrice(step.layer, int(grows["comparisons"]), opening, each))
    for found in costs.steps:
        if found.kind == "correlations":
            others = sum(other.comparisons for other in costs.steps if other.kind != "relu")
            cost = scaled(ahead, others)
            rest.append(StepCost(found.layer, found.kind, others, cost, cost))
        elif found.kind not in ("relu", "set_up"):
            rest.append(found)
    return ReluPrices(tuple(rest), tuple(layers), costs.set_up)


def priced_label(asked: str, link: Link, settings: EngineSettings) -> str:
    """What names call a budget of so many seconds or ReLUs that was planned by these prices: '12.5s_wan_cheetah'."""
    return f"{asked}_{link.name.replace(',', '-')}_{settings.protocol}"


def without_masks(network: Network) -> Network:
    """A copy that keeps all its ReLUs."""
    network = deepcopy(network)
    for site in relu_sites(network).values():
        site.set_mask(torch.ones(site.map_shape, dtype=torch.bool))
    return network


def seconds_over(cost: Cost, link: Link) -> float:
    return cost.seconds + transfer_seconds(cost, link)


def scaled(cost: Cost, count: float) -> Cost:
    return Cost(*(count * value for value in cost.values()))
