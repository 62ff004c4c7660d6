"""ReLU budgets in seconds: a knapsack with fixed charges. Plain numpy; of private inference it knows prices alone.

A layer that keeps any ReLU takes F_l seconds, and c_l more for each of them: over a slow link an open layer costs as
much as thousands of ReLUs. Keeping k of them is worth S_l(k), the sum of the layer's k largest scores, scaled so that
S_l of all is D_l, what the loss rises by where the layer loses all of its ReLUs. Wanted are k_l of the largest sum of
S_l(k_l) whose open layers take no more than so many seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from helper.errors import UserError

# At most: numbers of ReLUs of a layer that are tried, and partial budgets kept from one layer to the next. Both lie the
# closer together the smaller they are. What comes out is then filled unit by unit.
OPTIONS, STATES = 64, 1024
ROUNDING = 1e-9  # of sums that were added up in another order


@dataclass(frozen=True, eq=False)
class Layer:
    """What one layer may keep. Its units are positions, channels or the layer as a whole, the most worth a ReLU first.

    gains    (n,) what each unit is worth, from 0 up; sizes (n,) its ReLUs, from 1 up
    opening  F_l, seconds that the layer takes as soon as it keeps anything
    each     c_l, seconds a ReLU, above 0
    """

    gains: np.ndarray
    sizes: np.ndarray
    opening: float
    each: float

    @cached_property
    def kept(self) -> np.ndarray:
        """(n + 1,) ReLUs of the first 0, 1, ... n units."""
        return np.concatenate([[0], np.cumsum(self.sizes)])

    @cached_property
    def worth(self) -> np.ndarray:
        """(n + 1,) what these are worth: S_l."""
        return np.concatenate([[0.0], np.cumsum(self.gains)])

    def worth_of(self, kept: int) -> float:
        """S_l(k); between two units, by the share of the second."""
        return float(np.interp(kept, self.kept, self.worth))

    def seconds(self, kept: int) -> float:
        return self.opening + self.each * kept if kept else 0.0


@dataclass(frozen=True)
class Allocation:
    """`kept` ReLUs of every layer, what they are worth, and the seconds that they take; 0 is a closed layer."""

    kept: tuple[int, ...]
    worth: float
    seconds: float


def make_layer(scores: np.ndarray, sizes: np.ndarray, loss: float, *, opening: float, each: float) -> Layer:
    """scores (n,): of every unit, a mean over its ReLUs; sizes (n,): those ReLUs; loss: D_l, where below 0 taken as 0.

    Units without ReLUs are left out; scores that are all 0 count as equal. Raises UserError for scores below 0, and for
    scores or a loss that are no finite numbers.
    """
    sizes = np.asarray(sizes, np.int64).ravel()
    scores, sizes = np.asarray(scores, np.float64).ravel()[sizes > 0], sizes[sizes > 0]
    if not (np.isfinite(scores).all() and np.isfinite(loss)) or (scores < 0).any():
        raise UserError("scores and losses of a budget in seconds must be finite, and scores not below 0")
    scores = scores if scores.any() else np.ones_like(scores)
    order = np.argsort(-scores, kind="stable")
    gains = (scores * sizes)[order]
    return Layer(gains * (max(loss, 0.0) / max(gains.sum(), 1e-300)), sizes[order], opening, each)


class Knapsack:
    """Layers whose budgets are looked for, for any number of seconds.

    By dynamic programming over the layers: of budgets for the first l of them, those stay that no other one is both
    quicker and worth more than.
    """

    def __init__(self, layers: Sequence[Layer]):
        self.layers = tuple(layers)
        layer_of = np.concatenate([np.full(len(layer.sizes), number) for number, layer in enumerate(layers)])
        costs = np.concatenate([layer.sizes * layer.each for layer in layers])
        gains = np.concatenate([layer.gains for layer in layers])
        # Units of all layers that are worth something, those of which a second is worth most first.
        order = np.argsort(-gains / costs, kind="stable")
        order = order[np.array([layer.worth[-1] > 0 for layer in layers])[layer_of[order]]]
        self.units = {"layer": layer_of[order], "cost": costs[order], "gain": gains[order]}

    @property
    def cheapest(self) -> float:
        """Seconds of the cheapest open layer: of one unit of one layer."""
        return min(layer.seconds(int(layer.sizes.min())) for layer in self.layers if len(layer.sizes))

    @property
    def loss(self) -> float:
        """What all ReLUs together are worth: the loss that is lost with them."""
        return float(sum(layer.worth[-1] for layer in self.layers))

    def _options(self, number: int) -> np.ndarray:
        """Numbers of units of a layer to try, 0 the first: k_l = #{s_li > p c_l} at falling prices p of a second."""
        places = np.flatnonzero(self.units["layer"] == number)
        if len(places) < OPTIONS:
            return np.arange(len(places) + 1)
        spent = np.cumsum(self.units["cost"])
        bought = np.searchsorted(spent, spent[-1] * np.linspace(0, 1, OPTIONS) ** 3, side="right")
        return np.unique([0, 1, *np.searchsorted(places, bought), len(places)])

    def allocate(self, seconds: float) -> Allocation:
        """The best that `seconds` pay for. Raises UserError where they open no layer."""
        if seconds < self.cheapest * (1 - ROUNDING):
            raise UserError(f"{seconds:.4g} s open no layer: the cheapest takes {self.cheapest:.4g} s")
        spent, worth, kept = np.zeros(1), np.zeros(1), np.zeros((1, 0), np.int64)
        for number, layer in enumerate(self.layers):
            counts = self._options(number)
            opened = np.where(counts > 0, layer.opening, 0.0) + layer.each * layer.kept[counts]
            spent, worth = (spent[:, None] + opened).ravel(), (worth[:, None] + layer.worth[counts]).ravel()
            chosen = _undominated(spent, worth, seconds * (1 + ROUNDING))
            before, option = np.divmod(chosen, len(counts))
            spent, worth = spent[chosen], worth[chosen]
            kept = np.hstack([kept[before], layer.kept[counts[option], None]])
        found, filled = self.of(kept[-1]), self._filled(kept[-1] > 0, seconds)
        return filled if filled.worth >= found.worth * (1 - ROUNDING) else found

    def of(self, kept: Sequence[int]) -> Allocation:
        """Given numbers of ReLUs, were they the best of their layers."""
        pairs = list(zip(self.layers, kept, strict=True))
        worth = sum(layer.worth_of(count) for layer, count in pairs)
        return Allocation(
            tuple(int(count) for count in kept), worth, sum(layer.seconds(count) for layer, count in pairs)
        )

    def frontier(self, points: int) -> list[Allocation]:
        """The best allocations for evenly spaced seconds, from the cheapest open layer to all ReLUs."""
        most = sum(layer.seconds(int(layer.kept[-1])) for layer in self.layers)
        found = [self.allocate(seconds) for seconds in np.linspace(self.cheapest, most, points)]
        return sorted(set(found), key=lambda allocation: allocation.seconds)

    def _filled(self, chosen: np.ndarray, seconds: float) -> Allocation:
        """Open these layers, and spend what is left on their units, as long as one fits."""
        opening, each = np.array([(layer.opening, layer.each) for layer in self.layers]).T
        while True:
            room = seconds - float(opening[chosen].sum())
            offered = chosen[self.units["layer"]]
            taken = np.zeros(len(offered), bool)
            while (offered := offered & ~taken & (self.units["cost"] <= room + ROUNDING * seconds)).any():
                numbers = np.flatnonzero(offered)
                spent = np.cumsum(self.units["cost"][numbers])
                fitting = numbers[: max(1, int((spent <= room + ROUNDING * seconds).sum()))]
                taken[fitting] = True
                room -= float(self.units["cost"][fitting].sum())
            open_layers = np.isin(np.arange(len(self.layers)), self.units["layer"][taken])
            if (open_layers == chosen).all():
                break
            chosen = open_layers  # one that got nothing gives its opening back
        spent = np.bincount(self.units["layer"][taken], self.units["cost"][taken], len(self.layers))
        kept = tuple(int(count) for count in np.rint(spent / each))
        return Allocation(kept, float(self.units["gain"][taken].sum()), self.of(kept).seconds)


def _undominated(seconds: np.ndarray, worth: np.ndarray, most: float) -> np.ndarray:
    """Places of the budgets of at most `most` seconds that no other one is both quicker and worth more than, in order.

    Of too many the last, which is the best, of each of STATES spans of seconds.
    """
    order = np.flatnonzero(seconds <= most)
    order = order[np.lexsort((-worth[order], seconds[order]))]
    before = np.concatenate([[-np.inf], np.maximum.accumulate(worth[order])[:-1]])
    order = order[worth[order] > before + ROUNDING * worth.max()]
    if len(order) > STATES:
        spans = np.floor(seconds[order] * (STATES / most)).astype(int)
        order = order[np.append(np.flatnonzero(np.diff(spans)), len(order) - 1)]
    return order
