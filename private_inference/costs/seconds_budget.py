"""ReLU budgets in seconds of private inference: a network's prices and what its ReLUs are worth, brought together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from helper.errors import UserError
from masks.seconds import Allocation, Knapsack, make_layer
from masks.selection import MaskChooser
from models.layers import Network, relu_sites
from private_inference.costs.link import Network as Link
from private_inference.costs.prices import LayerPrice, ReluPrices, scaled, seconds_over
from private_inference.engine.cost import Cost


@dataclass(frozen=True)
class Worth:
    """What ReLUs are worth. `scores`: {site: (C, H, W)}, how they rank within a layer; `losses`: D_l, a number a layer.

    `unit`: of the losses, in words. Their sum is what all ReLUs together are worth.
    """

    scores: Mapping[str, torch.Tensor]
    losses: Sequence[float]
    unit: str


class SecondsPlanner:
    """Budgets for `network` over one link; its masks bound what may be kept.

    `granularity`: what is kept or dropped as a whole, see masks/selection.py.
    """

    def __init__(self, network: Network, prices: ReluPrices, worth: Worth, link: Link, granularity: str = "position"):
        self.prices, self.link, self.unit = prices, link, worth.unit
        self.linear = prices.linear_seconds(link)
        sites = relu_sites(network)
        parent = {name: site.mask for name, site in sites.items()}
        chooser = MaskChooser([site.kept for site in sites.values()], granularity, parent=parent)
        self.available = chooser.budget
        layers = []
        for price, (name, site), loss in zip(prices.layers, sites.items(), worth.losses, strict=True):
            scores, sizes = (part.numpy() for part in chooser.units(name, site, worth.scores[name]))
            opening, each = (seconds_over(cost, link) for cost in (price.opening, price.each))
            layers.append(make_layer(scores, sizes, loss, opening=opening, each=each))
        self.knapsack = Knapsack(layers)
        if not self.knapsack.loss > 0:
            raise UserError("no layer's linearization costs anything by these sensitivities: there is nothing to buy")

    def plan(self, seconds: float) -> Allocation:
        """The best budget of so many seconds in all. Raises UserError where they open no layer."""
        least = self.linear + self.knapsack.cheapest
        if not seconds >= least:
            raise UserError(
                f"{seconds:g} s over {self.link.name}: all but the ReLUs takes {self.linear:.4g} s, which no budget "
                f"saves, and the cheapest open layer {self.knapsack.cheapest:.4g} s; ask for {least:.4g} s or more"
            )
        return self.knapsack.allocate(seconds - self.linear)

    def nearest(self, relus: int, points: int = 24) -> Allocation:
        """The best budget of about so many ReLUs: of the seconds at which the fewest more of them are kept."""
        low, high = self.linear + self.knapsack.cheapest, self.prices.seconds(self.available, self.link)
        for _ in range(points):
            middle = (low + high) / 2
            low, high = (middle, high) if sum(self.plan(middle).kept) < relus else (low, middle)
        return self.plan(high)

    def frontier(self, points: int) -> list[dict]:
        return [self.describe(found.kept) for found in self.knapsack.frontier(points)]

    def describe(self, kept: Sequence[int]) -> dict:
        """What a budget costs, and what it is predicted to lose: plain values."""
        cost, seconds = self.prices.cost(kept), self.prices.seconds(kept, self.link)
        return {
            "relus": sum(kept),
            "open": sum(count > 0 for count in kept),
            "bytes": cost.bytes,
            "rounds": cost.rounds,
            "seconds": seconds,
            "relu_seconds": seconds - self.linear,
            "loss": self.knapsack.loss - self.knapsack.of(kept).worth,
            "kept": list(kept),
        }

    def by_layer(self, kept: Sequence[int]) -> list[dict]:
        return [self._layer(price, count) for price, count in zip(self.prices.layers, kept, strict=True)]

    def _layer(self, price: LayerPrice, kept: int) -> dict:
        cost = price.opening + scaled(price.each, kept) if kept else Cost()
        seconds = seconds_over(price.opening, self.link) + kept * seconds_over(price.each, self.link) if kept else 0.0
        about = {"layer": price.layer, "total": price.total, "kept": kept}
        return about | {"bytes": cost.bytes, "rounds": cost.rounds, "seconds": seconds}

    def compared(self, kept: Sequence[int], others: Mapping[str, Sequence[int]]) -> dict:
        """A budget, layer by layer, beside all ReLUs and beside `others`, by name: plain values."""
        networks = {"this plan": kept, "all ReLUs": self.available, **others}
        once = self.prices.set_up
        return {
            "link": {"name": self.link.name, "words": self.link.in_words()},
            "unit": self.unit,
            "linear_seconds": self.linear,
            "set_up_seconds": seconds_over(once, self.link) if once else None,
            "all": self.knapsack.loss,
            "layers": self.by_layer(kept),
            "networks": {name: self.describe(counts) for name, counts in networks.items()},
        }
