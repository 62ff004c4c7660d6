"""The blurs (Hendrycks & Dietterich, ICLR 2019). Each function: uint8 (N, S, S, 3), constants, generators -> uint8."""

from __future__ import annotations

import numpy as np

from dataset.corruptions import filters
from dataset.corruptions.base import Corruption, Generators, to_bytes, unit


def defocus_blur(images: np.ndarray, constants: tuple[float, float], rngs: Generators) -> np.ndarray:
    """(radius, sigma): the mean over a disk, whose edge is smoothed."""
    return to_bytes(filters.correlate(unit(images), filters.disk(*constants)))


def glass_blur(images: np.ndarray, constants: tuple[float, int, int], rngs: Generators) -> np.ndarray:
    """(sigma, reach, rounds): blurred, every pixel replaced by a near one `rounds` times, and blurred again.

    The pixels go from the last row and column backwards, so that a copied pixel can be copied on. The benchmark meant
    to swap the two but copies one, and so does this.
    """
    sigma, reach, rounds = constants
    count, size = images.shape[:2]
    places = np.arange(size - reach, reach, -1)
    shape = (rounds, len(places), len(places), 2)
    shifts = np.stack([rng.integers(-reach, reach, shape) for rng in rngs])
    rows = places[:, None] + shifts[..., 1]
    columns = places + shifts[..., 0]
    every = np.arange(count)
    sources = ((rows * size + columns).reshape(count, -1).T * count + every).copy()
    targets = np.tile((places[:, None] * size + places).ravel(), rounds)

    blurred = to_bytes(filters.gaussian(unit(images), sigma))
    # One row a position and one number a pixel: each copy is then one gather over all images.
    pixels = np.zeros((size * size, count, 4), np.uint8)
    pixels[..., :3] = blurred.reshape(count, size * size, 3).swapaxes(0, 1)
    packed = pixels.view(np.uint32)[..., 0]
    flat = packed.reshape(-1)
    for target, source in zip(targets, sources, strict=True):
        packed[target] = flat[source]
    blurred = pixels[..., :3].swapaxes(0, 1).reshape(images.shape)
    return to_bytes(filters.gaussian(unit(blurred), sigma))


def motion_blur(images: np.ndarray, constants: tuple[float, float], rngs: Generators) -> np.ndarray:
    """(radius, sigma): along a line at up to 45 degrees from the horizontal."""
    degrees = np.array([rng.uniform(-45, 45) for rng in rngs])
    return filters.motion_blur(images, *constants, degrees)


def zoom_blur(images: np.ndarray, factors: tuple[float, ...], rngs: Generators) -> np.ndarray:
    """The mean of the image and of its zooms by every factor."""
    count, size = images.shape[:2]
    x = unit(images.transpose(1, 2, 0, 3).reshape(size, size, -1), np.float32)
    total = np.zeros_like(x)
    # Neighbouring factors often share their whole-pixel sizes, at 32 pixels every second one.
    sizes = [filters.zoom_sizes(size, factor) for factor in factors]
    zooms = {pair: filters.clipped_zoom(x, *pair) for pair in set(sizes)}
    for pair in sizes:
        total += zooms[pair]
    total += x
    total /= len(factors) + 1
    return to_bytes(total).reshape(size, size, count, 3).transpose(2, 0, 1, 3)


def gaussian_blur(images: np.ndarray, sigma: float, rngs: Generators) -> np.ndarray:
    return to_bytes(filters.gaussian(unit(images), sigma))


def _factors(*counts: int) -> tuple[tuple[float, ...], ...]:
    """1, 1.01, 1.02, ... so many for each severity, with the last bits that a counting loop in steps of 0.01 gives."""
    return tuple(tuple((1 + np.arange(count) * (1.01 - 1)).tolist()) for count in counts)


BLURS = {
    "defocus_blur": Corruption(
        defocus_blur,
        {
            32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
            64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        },
        random=False,
    ),
    "glass_blur": Corruption(
        glass_blur,
        {
            32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
            64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        },
    ),
    "motion_blur": Corruption(
        motion_blur,
        {
            32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
            64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        },
    ),
    # The first two end at 1.06 and 1.11, the others at 1.15, 1.20 and 1.25: so does the generator of the published
    # arrays, whose ranges in steps of 0.01 run one step past their end where the division rounds up.
    "zoom_blur": Corruption(zoom_blur, {size: _factors(7, 12, 16, 21, 26) for size in (32, 64)}, random=False),
    "gaussian_blur": Corruption(
        gaussian_blur, {32: (0.4, 0.6, 0.7, 0.8, 1), 64: (0.5, 0.75, 1, 1.25, 1.5)}, random=False
    ),
}
