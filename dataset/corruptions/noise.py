"""The noises (Hendrycks & Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", ICLR 2019). Each function: uint8 (N, S, S, 3), a constant, one generator an image -> uint8.
"""

from __future__ import annotations

import numpy as np

from dataset.corruptions.base import Corruption, Generators, draw, to_bytes, unit


def gaussian_noise(images: np.ndarray, std: float, rngs: Generators) -> np.ndarray:
    """x + N(0, std), independent for every channel of every pixel."""
    noise = draw(rngs, images.shape[1:])
    noise *= std
    noise += unit(images)
    return to_bytes(noise)


def shot_noise(images: np.ndarray, rate: float, rngs: Generators) -> np.ndarray:
    """Poisson(rate * x) / rate: the fewer photons, the noisier."""
    expected = unit(images) * rate
    counts = np.stack([rng.poisson(row) for row, rng in zip(expected, rngs, strict=True)])
    return to_bytes(counts / rate)


def impulse_noise(images: np.ndarray, share: float, rngs: Generators) -> np.ndarray:
    """Each channel value is replaced with probability `share`, by black or white with equal chance."""
    shape = images.shape[1:]
    chance = draw(rngs, (2, *shape), "random")
    replaced, white = chance[:, 0] < share, chance[:, 1] < 0.5
    return np.where(replaced, white * np.uint8(255), images)


def speckle_noise(images: np.ndarray, std: float, rngs: Generators) -> np.ndarray:
    """x + x * N(0, std)."""
    noise = draw(rngs, images.shape[1:])
    noise *= std
    x = unit(images)
    noise *= x
    noise += x
    return to_bytes(noise)


NOISES = {
    "gaussian_noise": Corruption(
        gaussian_noise, {32: (0.04, 0.06, 0.08, 0.09, 0.1), 64: (0.04, 0.08, 0.12, 0.15, 0.18)}
    ),
    "shot_noise": Corruption(shot_noise, {32: (500, 250, 100, 75, 50), 64: (250, 100, 50, 30, 15)}),
    "impulse_noise": Corruption(
        impulse_noise, {32: (0.01, 0.02, 0.03, 0.05, 0.07), 64: (0.01, 0.02, 0.05, 0.08, 0.14)}
    ),
    "speckle_noise": Corruption(speckle_noise, {32: (0.06, 0.1, 0.12, 0.16, 0.2), 64: (0.15, 0.2, 0.25, 0.3, 0.35)}),
}
