"""Frost without photographs: feathery ice crystals on a cloudy film, drawn from fixed seeds.

It stands in where the photographs are missing. Its brightness and grain are near theirs, so that accuracies are of the
same order; they are not comparable.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dataset.corruptions.filters import gaussian
from dataset.corruptions.plasma import plasma

# A power of two, for the plasma.
SIZE = 512


@dataclass(frozen=True)
class Look:
    """Mean and standard deviation of the grey, the colour that is multiplied with it (of mean 1), the number of
    crystals, their length in pixels, and how much the film counts beside them.
    """

    mean: float
    std: float
    tint: tuple[float, float, float]
    crystals: int
    length: float
    film: float


# After the five photographs: a blue thick film, two of white hoar, a grey grain, and large feathers on dark glass.
LOOKS = (
    Look(131, 18, (0.60, 1.14, 1.26), 900, 24, 1.0),
    Look(207, 22, (0.97, 0.99, 1.04), 700, 40, 0.5),
    Look(207, 22, (0.97, 0.99, 1.04), 500, 60, 0.6),
    Look(152, 30, (0.91, 1.01, 1.08), 2000, 9, 0.8),
    Look(123, 42, (0.91, 1.00, 1.09), 600, 48, 0.5),
)


@lru_cache(maxsize=1)
def textures() -> tuple[np.ndarray, ...]:
    """One for each of LOOKS: uint8 (SIZE, SIZE, 3), the same on every call."""
    return tuple(_texture(look, np.random.default_rng((0, number))) for number, look in enumerate(LOOKS))


def _texture(look: Look, rng: np.random.Generator) -> np.ndarray:
    film = plasma([rng], SIZE, 1.5)[0]
    ice = np.zeros((SIZE, SIZE))
    for _ in range(look.crystals):
        _crystal(ice, rng, look.length)
    ice = gaussian(ice[None, :, :, None], 1)[0, :, :, 0]
    # Light from the upper left: a crystal is bright on one side and throws a shadow on the other.
    relief = ice - 0.9 * np.roll(ice, (3, 3), (0, 1))
    grain = rng.standard_normal((SIZE, SIZE))
    grey = _standard(relief) + look.film * _standard(film) + 0.25 * grain
    grey = look.mean + look.std * _standard(grey)
    return np.rint(np.clip(grey[..., None] * np.array(look.tint), 0, 255)).astype(np.uint8)


def _standard(x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / x.std()


def _crystal(ice: np.ndarray, rng: np.random.Generator, length: float) -> None:
    """Draw one feather into `ice`: a stem, and barbs at 60 degrees that shorten towards its tip."""
    row, column, turn, size, brightness = rng.random(5)
    angle, stem = 2 * math.pi * turn, length * (0.5 + size)
    _needle(ice, row * SIZE, column * SIZE, angle, stem, brightness)
    for start in np.arange(0.1, 0.95, max(4 / stem, 0.08)):
        foot = row * SIZE + start * stem * math.sin(angle), column * SIZE + start * stem * math.cos(angle)
        for side in (-1, 1):
            _needle(ice, *foot, angle + side * math.pi / 3, 0.45 * stem * (1 - start), 0.8 * brightness)


def _needle(ice: np.ndarray, row: float, column: float, angle: float, length: float, brightness: float) -> None:
    steps = np.arange(0, length, 0.7)
    rows = np.floor(row + steps * math.sin(angle)).astype(np.int64) % SIZE
    columns = np.floor(column + steps * math.cos(angle)).astype(np.int64) % SIZE
    # The brighter one wins where crystals cross; each fades towards its tip.
    np.maximum.at(ice, (rows, columns), brightness * (1 - 0.6 * steps / max(length, 1)))
