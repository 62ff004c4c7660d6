"""Filters over batches: Gaussian, disk, motion blur, clipped zoom. Images are (N, S, S, C) but for the zoom."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np


def gaussian_weights(sigma: float, places: range) -> np.ndarray:
    """float64 (len(places),), sum 1."""
    # Not numpy's exp, whose last bit differs between processors and shows in flat areas.
    weights = np.array([math.exp(-0.5 / (sigma * sigma) * place**2) for place in places])
    return weights / weights.sum()


def reach(sigma: float, truncate: float) -> int:
    """How many pixels on either side a Gaussian takes in."""
    return int(truncate * sigma + 0.5)


def gaussian(x: np.ndarray, sigma: float) -> np.ndarray:
    """float64 (N, S, S, C) -> the same, smoothed over both axes; edges repeated, truncated at 4 sigma."""
    radius = reach(sigma, 4)
    if radius == 0:
        return x
    weights = gaussian_weights(sigma, range(-radius, radius + 1))
    for axis in (1, 2):
        widths = [(radius, radius) if a == axis else (0, 0) for a in range(4)]
        padded = np.pad(x, widths, mode="edge")
        x = _slice(padded, axis, radius, x.shape[axis]) * weights[radius]
        # From the far ends inwards, which is the order of addition behind the published bytes.
        for distance in range(radius, 0, -1):
            pair = _slice(padded, axis, radius - distance, x.shape[axis])
            pair = pair + _slice(padded, axis, radius + distance, x.shape[axis])
            pair *= weights[radius - distance]
            x += pair
    return x


def _slice(x: np.ndarray, axis: int, start: int, length: int) -> np.ndarray:
    rows = slice(start, start + length)
    return x[:, rows] if axis == 1 else x[:, :, rows]


@lru_cache(maxsize=16)
def gaussian_matrix(size: int, sigma: float, truncate: float) -> np.ndarray:
    """float64 (size, size): G @ field @ G.T is the field's Gaussian, its border mirrored with the edge repeated.

    A matrix, because the sigma here reaches a third of the image: sums of shifts take twenty times as long.
    """
    radius = reach(sigma, truncate)
    weights = gaussian_weights(sigma, range(-radius, radius + 1))
    place = np.pad(np.arange(size), radius, mode="symmetric")
    matrix = np.zeros((size, size))
    for row in range(size):
        np.add.at(matrix[row], place[row : row + 2 * radius + 1], weights)
    return matrix


@lru_cache(maxsize=16)
def disk(radius: float, sigma: float) -> np.ndarray:
    """float32 (17, 17): the pixels with i^2 + j^2 <= radius^2, normalised, smoothed by a 3x3 Gaussian.

    float32 throughout: the last bit of a weight decides whether a flat area keeps its value when truncated.
    """
    place = np.arange(-8, 9)
    kernel = (place[:, None] ** 2 + place**2 <= radius**2).astype(np.float32)
    kernel /= kernel.sum()
    side, centre, _ = gaussian_weights(sigma, range(-1, 2)).astype(np.float32)
    for _ in range(2):
        kernel = kernel.T
        padded = np.pad(kernel, ((0, 0), (1, 1)), mode="reflect")
        kernel = kernel * centre + (padded[:, :-2] + padded[:, 2:]) * side
    return kernel


def correlate(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """float64 (N, S, S, C) with an odd square kernel; borders mirrored without repeating the edge."""
    radius = len(kernel) // 2
    size = x.shape[1]
    padded = np.pad(x, ((0, 0), (radius, radius), (radius, radius), (0, 0)), mode="reflect")
    total = np.zeros_like(x)
    # A weight below this moves no byte, and a smoothed disk has many.
    for row, column in np.argwhere(kernel > 1e-12):
        total += padded[:, row : row + size, column : column + size] * np.float64(kernel[row, column])
    return total


def motion_blur(images: np.ndarray, radius: float, sigma: float, degrees: np.ndarray) -> np.ndarray:
    """uint8 (N, S, S, C) -> uint8, each image along its own angle; edges repeated.

    out(p) = sum_i k_i in(p + offset_i),  k_i ~ exp(-i^2 / (2 sigma^2)),  i = 0 .. 2 ceil(radius),
    offset_i = (ceil(i cos t - 1/2), ceil(i sin t - 1/2)) as (column, row)

    The sum is rounded to 16 bits and then cut to 8, which the benchmark's own blur did: rounding straight to 8 bits
    is one off in half the pixels.
    """
    count, size, _, channels = images.shape
    width = 2 * math.ceil(radius) + 1
    steps = np.arange(width)
    weights = gaussian_weights(sigma, range(width))
    angles = np.deg2rad(degrees)[:, None]
    columns = np.ceil(steps * np.cos(angles) - 0.5).astype(np.int64) + width
    rows = np.ceil(steps * np.sin(angles) - 0.5).astype(np.int64) + width
    padded = np.pad(images, ((0, 0), (width, width), (width, width), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size, channels), axis=(1, 2, 3))[:, :, :, 0]
    every = np.arange(count)
    total = np.zeros(images.shape)
    for step in range(width):
        total += windows[every, rows[:, step], columns[:, step]] * (257 * weights[step])
    total += 0.5
    return (total.astype(np.uint16) // 257).astype(np.uint8)


def zoom_sizes(size: int, factor: float) -> tuple[int, int]:
    """The whole-pixel sizes of a clipped zoom: of the centre that is cut out, and of what it is enlarged to."""
    crop = math.ceil(size / factor)
    return crop, round(crop * factor)


def clipped_zoom(x: np.ndarray, crop: int, enlarged: int) -> np.ndarray:
    """(S, S, M) float -> the same shape and precision: the centre `crop` pixels, bilinear to `enlarged` >= S pixels,
    the first on the first and the last on the last, and of those the centre S.

    M is the batch and its channels: with them last, what is gathered lies together, which is four times as fast.
    """
    size = len(x)
    place = (np.arange(size) + (enlarged - size) // 2) * ((crop - 1) / (enlarged - 1))
    low = np.minimum(place.astype(np.int64), crop - 1)
    high = np.minimum(low + 1, crop - 1)
    weight = place - low
    first = (size - crop) // 2
    low, high = first + low, first + high
    left, right = 1 - weight[:, None], weight[:, None]
    zoomed = np.empty_like(x)
    for row, above, below, down in zip(zoomed, x[low], x[high], weight, strict=True):
        between = np.multiply(above, 1 - down, dtype=np.float64) + np.multiply(below, down, dtype=np.float64)
        before, after = between[low], between[high]
        before *= left
        after *= right
        np.add(before, after, out=row, casting="same_kind")
    return zoomed
