"""Brightness, contrast, saturation, elastic, pixelate, JPEG (Hendrycks & Dietterich, ICLR 2019).

Each function: uint8 (N, S, S, 3), constants, generators -> uint8.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from dataset.corruptions.base import Corruption, Generators, draw, to_bytes, unit
from dataset.corruptions.colour import hsv_to_rgb, rgb_to_hsv
from dataset.corruptions.filters import gaussian_matrix
from dataset.corruptions.warp import bilinear, move_points


def brightness(images: np.ndarray, more: float, rngs: Generators) -> np.ndarray:
    """The value of HSV plus `more`, clipped."""
    hue, saturation, value = rgb_to_hsv(unit(images))
    return to_bytes(hsv_to_rgb(hue, saturation, np.clip(value + more, 0, 1)))


def saturate(images: np.ndarray, constants: tuple[float, float], rngs: Generators) -> np.ndarray:
    """(factor, more): the saturation of HSV times `factor` plus `more`, clipped."""
    factor, more = constants
    hue, saturation, value = rgb_to_hsv(unit(images))
    return to_bytes(hsv_to_rgb(hue, np.clip(saturation * factor + more, 0, 1), value))


def contrast(images: np.ndarray, factor: float, rngs: Generators) -> np.ndarray:
    """(x - m) * factor + m, m the mean of each channel."""
    x = unit(images)
    means = x.mean(axis=(1, 2), keepdims=True)
    x -= means
    x *= factor
    x += means
    return to_bytes(x)


def elastic_transform(images: np.ndarray, constants: tuple[float, float, float], rngs: Generators) -> np.ndarray:
    """(alpha, sigma, affine), in image sizes: three points move by up to `affine` and take the image along; then each
    pixel moves by a smooth random field of strength `alpha`.
    """
    size = images.shape[1]
    alpha, sigma, affine = (constant * size for constant in constants)
    jitter = ((draw(rngs, (3, 2), "random") * 2 - 1) * affine).astype(np.float32)
    x = move_points(unit(images, np.float32), jitter)
    if alpha == 0:
        return to_bytes(x)
    smooth = gaussian_matrix(size, sigma, 3)
    fields = smooth @ (draw(rngs, (2, size, size), "random") * 2 - 1) @ smooth.T
    shifts = (fields * alpha).astype(np.float32)
    places = np.arange(size, dtype=np.float64)
    columns, rows = shifts[:, 0] + places, shifts[:, 1] + places[:, None]
    left, top = np.floor(columns), np.floor(rows)
    moved = bilinear(x, top.astype(np.int64), left.astype(np.int64), rows - top, columns - left, "symmetric")
    return to_bytes(moved.astype(np.float32))


def pixelate(images: np.ndarray, factor: float, rngs: Generators) -> np.ndarray:
    """Shrunk to `factor` of its sides and enlarged again, each pixel the mean of those it covers."""
    size = images.shape[1]
    small = (int(size * factor),) * 2
    box = Image.Resampling.BOX
    return _each(images, lambda image: image.resize(small, box).resize((size, size), box))


def jpeg_compression(images: np.ndarray, quality: int, rngs: Generators) -> np.ndarray:
    def compressed(image: Image.Image) -> Image.Image:
        stored = BytesIO()
        image.save(stored, "JPEG", quality=quality)
        return Image.open(stored)

    return _each(images, compressed)


def _each(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    changed = np.empty_like(images)
    for row, image in zip(changed, images, strict=True):
        row[:] = np.asarray(change(Image.fromarray(image)))
    return changed


DIGITAL = {
    "brightness": Corruption(
        brightness, {32: (0.05, 0.1, 0.15, 0.2, 0.3), 64: (0.1, 0.2, 0.3, 0.4, 0.5)}, random=False
    ),
    "contrast": Corruption(contrast, {32: (0.75, 0.5, 0.4, 0.3, 0.15), 64: (0.4, 0.3, 0.2, 0.1, 0.05)}, random=False),
    "elastic_transform": Corruption(
        elastic_transform,
        {
            32: ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)),
            64: ((0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)),
        },
    ),
    "pixelate": Corruption(pixelate, {32: (0.95, 0.9, 0.85, 0.75, 0.65), 64: (0.9, 0.8, 0.7, 0.6, 0.5)}, random=False),
    "jpeg_compression": Corruption(
        jpeg_compression, {32: (80, 65, 58, 50, 40), 64: (65, 58, 50, 40, 25)}, random=False
    ),
    "saturate": Corruption(
        saturate,
        {
            32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
            64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        },
        random=False,
    ),
}
