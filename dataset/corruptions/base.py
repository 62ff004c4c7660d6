"""What every corruption shares: its row in the table, and the benchmark's way from bytes to numbers and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Generators = Sequence[np.random.Generator]


@dataclass(frozen=True)
class Corruption:
    """One corruption of the benchmark.

    `function(images, constants, rngs)` takes and gives uint8 (N, S, S, 3); `rngs` holds one generator an image, or none
    for a corruption without chance. Each row must depend on its own image and generator alone: no sum over the batch,
    and no matrix product whose order of addition the number of images could change.
    `constants[image_size]` holds one entry a severity.
    """

    function: Callable[..., np.ndarray]
    constants: dict[int, tuple[Any, ...]]
    random: bool = True


def unit(images: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """uint8 0..255 -> `dtype` in [0, 1]."""
    return np.divide(images, 255, dtype=dtype)


def to_bytes(x: np.ndarray) -> np.ndarray:
    """Any float, clipped to [0, 1] -> uint8, truncated. Overwrites `x`.

    Truncated, not rounded, because the published arrays are; the product stays in the precision of `x` for that reason.
    """
    np.clip(x, 0, 1, out=x)
    x *= 255
    return x.astype(np.uint8)


def draw(rngs: Generators, shape: tuple[int, ...], kind: str = "standard_normal") -> np.ndarray:
    """float64 (N, *shape), row i from generator i: standard_normal, or random (uniform in [0, 1))."""
    values = np.empty((len(rngs), *shape))
    for row, rng in zip(values, rngs, strict=True):
        getattr(rng, kind)(out=row)
    return values
