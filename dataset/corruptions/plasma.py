"""Clouds by the diamond-square algorithm."""

from __future__ import annotations

import numpy as np

from dataset.corruptions.base import Generators, draw


def plasma(rngs: Generators, size: int, decay: float) -> np.ndarray:
    """float64 (N, size, size) in [0, 1]: a cloud by diamond-square, periodic; `size` is a power of two.

    From a single point, each level sets the middle of every square and then of every edge to the mean of the four
    points around it plus w * U(-w, w); w falls by `decay` a level.
    """
    chance = draw(rngs, (size * size - 1,), "random")
    heights = np.zeros((len(rngs), size, size))
    used, step, wibble = 0, size, 100.0

    def jittered(four: np.ndarray) -> np.ndarray:
        nonlocal used
        count = four[0].size
        uniform = chance[:, used : used + count].reshape(four.shape) * (2 * wibble) - wibble
        used += count
        return four / 4 + wibble * uniform

    while step > 1:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, 1)
        heights[:, half::step, half::step] = jittered(pairs + np.roll(pairs, -1, 2))
        middles = heights[:, half::step, half::step]
        above, beside = middles + np.roll(middles, 1, 1), corners + np.roll(corners, -1, 2)
        heights[:, ::step, half::step] = jittered(above + beside)
        above, beside = middles + np.roll(middles, 1, 2), corners + np.roll(corners, -1, 1)
        heights[:, half::step, ::step] = jittered(above + beside)
        step, wibble = half, wibble / decay
    heights -= heights.min(axis=(1, 2), keepdims=True)
    heights /= heights.max(axis=(1, 2), keepdims=True)
    return heights
