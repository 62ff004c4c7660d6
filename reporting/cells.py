"""Accuracies as tables show them: no more decimals than the images behind them carry, and how sure they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

Z = 1.96  # of a 95 % interval


def half_width(percent: float, images: int) -> float:
    """Half of Wilson's 95 % interval of an accuracy in % on so many images, in points."""
    share = percent / 100
    spread = math.sqrt(share * (1 - share) / images + (Z / (2 * images)) ** 2)
    return 100 * Z * spread / (1 + Z**2 / images)


def decimals(uncertainty: float) -> int:
    """Those worth printing of a value that is so uncertain: 0 from one unit on, 1 from a tenth on."""
    return 0 if uncertainty >= 1 else 1 if uncertainty >= 0.1 else 2


@dataclass(frozen=True)
class Share:
    """An accuracy in % of one run. `bare`: shown without its interval, in a table that tells that for all cells."""

    value: float
    images: int
    bare: bool = False

    @property
    def uncertainty(self) -> float:
        return half_width(self.value, self.images)

    def __str__(self) -> str:
        digits = decimals(self.uncertainty)
        return f"{self.value:.{digits}f}{'' if self.bare else f' ±{self.uncertainty:.{digits}f}'}"


@dataclass(frozen=True)
class Seeds:
    """Accuracies in % of several runs that differ in their seeds alone: mean, and standard deviation."""

    values: tuple[float, ...]

    @property
    def value(self) -> float:
        return mean(self.values)

    @property
    def uncertainty(self) -> float:
        return stdev(self.values) if len(self.values) > 1 else 0.0

    def __str__(self) -> str:
        digits = max(1, decimals(self.uncertainty))
        return f"{self.value:.{digits}f} ±{self.uncertainty:.{digits}f}"


def most_uncertain(values: Sequence[float], images: int) -> float:
    """The widest half interval of several accuracies on as many images."""
    return max(half_width(value, images) for value in values)
