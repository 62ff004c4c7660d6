"""Snow, frost and fog (Hendrycks & Dietterich, ICLR 2019). Each: uint8 (N, S, S, 3), constants, generators -> uint8."""

from __future__ import annotations

import numpy as np

from dataset.corruptions import filters
from dataset.corruptions.base import Corruption, Generators, draw, to_bytes, unit
from dataset.corruptions.frost import Frost
from dataset.corruptions.plasma import plasma


def snow(images: np.ndarray, constants: tuple[float, ...], rngs: Generators) -> np.ndarray:
    """(mean, std, zoom, threshold, radius, sigma, blend): bright flakes, zoomed and driven by the wind, both as drawn
    and turned by 180 degrees, over an image that is whitened where it is dark.
    """
    mean, std, zoom, threshold, radius, sigma, blend = constants
    size = images.shape[1]
    flakes = draw(rngs, (size, size)) * std + mean
    flakes = filters.clipped_zoom(flakes.transpose(1, 2, 0), *filters.zoom_sizes(size, zoom))
    flakes[flakes < threshold] = 0
    degrees = np.array([rng.uniform(-135, -45) for rng in rngs])
    flakes = to_bytes(flakes).transpose(2, 0, 1)[..., None]
    layer = unit(filters.motion_blur(flakes, radius, sigma, degrees))

    x = unit(images, np.float32)
    red, green, blue = (x[..., channel, None] for channel in range(3))
    grey = red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
    whitened = np.maximum(x, grey * np.float32(1.5) + np.float32(0.5))
    whitened = np.float32(blend) * x + np.float32(1 - blend) * whitened
    return to_bytes(whitened + layer + layer[:, ::-1, ::-1])


def frost(images: np.ndarray, constants: tuple[float, float], rngs: Generators, *, photographs: Frost) -> np.ndarray:
    """(a, b): a * image + b * frost, the frost a random part of one of the photographs."""
    size = images.shape[1]
    parts = np.empty_like(images)
    for part, rng in zip(parts, rngs, strict=True):
        photograph = photographs.photographs[rng.integers(len(photographs.photographs))]
        height, width, _ = photograph.shape
        row, column = rng.integers(height - size), rng.integers(width - size)
        part[:] = photograph[row : row + size, column : column + size]
    image_share, frost_share = constants
    mixed = images * np.float64(image_share) + parts * np.float64(frost_share)
    return np.clip(mixed, 0, 255, out=mixed).astype(np.uint8)


def fog(images: np.ndarray, constants: tuple[float, float], rngs: Generators) -> np.ndarray:
    """(amount, decay): a cloud is added, and the sum scaled back to the image's brightest value."""
    amount, decay = constants
    x = unit(images)
    brightest = x.max(axis=(1, 2, 3), keepdims=True)
    x += amount * plasma(rngs, images.shape[1], decay)[..., None]
    x *= brightest
    x /= brightest + amount
    return to_bytes(x)


# (mean, std, zoom, threshold, radius, sigma), and then the blend, in which alone the two sizes differ.
FLAKES = (
    (0.1, 0.2, 1, 0.6, 8, 3),
    (0.1, 0.2, 1, 0.5, 10, 4),
    (0.15, 0.3, 1.75, 0.55, 10, 4),
    (0.25, 0.3, 2.25, 0.6, 12, 6),
    (0.3, 0.3, 1.25, 0.65, 14, 12),
)
WEATHER = {
    "snow": Corruption(
        snow,
        {
            32: tuple((*flakes, b) for flakes, b in zip(FLAKES, (0.95, 0.9, 0.9, 0.85, 0.8), strict=True)),
            64: tuple((*flakes, b) for flakes, b in zip(FLAKES, (0.8, 0.8, 0.7, 0.65, 0.6), strict=True)),
        },
    ),
    "frost": Corruption(
        frost,
        {
            32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
            64: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        },
    ),
    "fog": Corruption(
        fog,
        {
            32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
            64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        },
    ),
}
