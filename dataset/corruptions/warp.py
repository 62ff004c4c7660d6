"""Bilinear sampling of a batch, each image at its own places."""

from __future__ import annotations

from typing import Literal

import numpy as np

# An affine map's places are rounded to thirty-seconds of a pixel, by way of 1024ths, as in the library behind the
# published arrays: without it 6 to 18 % of the bytes are off, by up to 3 grey levels in photographs.
FINE, COARSE = 1024, 32
Border = Literal["reflect", "symmetric"]


def bilinear(
    x: np.ndarray, top: np.ndarray, left: np.ndarray, down: np.ndarray, right: np.ndarray, border: Border
) -> np.ndarray:
    """x (N, S, S, C) sampled at rows top + down and columns left + right, each (N, S, S) -> (N, S, S, C).

    `top` and `left` are whole, -S to 2S - 2; `down` and `right` in [0, 1] and of the precision to compute in. `border`
    is numpy's name of a mirror: with "symmetric" the edge counts twice.
    """
    count, size, _, channels = x.shape
    mirror = np.pad(np.arange(size), size, mode=border)
    pixels = x.reshape(-1, channels)
    first = np.arange(count)[:, None, None] * (size * size)
    rows = [first + mirror[top + (size + more)] * size for more in (0, 1)]
    columns = [mirror[left + (size + more)] for more in (0, 1)]
    total = np.zeros((*top.shape, channels), down.dtype)
    for row, row_weight in zip(rows, (1 - down, down), strict=True):
        for column, weight in zip(columns, (1 - right, right), strict=True):
            total += pixels[row + column] * (row_weight * weight)[..., None]
    return total


def move_points(x: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """float32 (N, S, S, C) under the affine map that moves three points by `jitter` -> the same shape.

    The points are (centre + third, centre + third), (centre + third, centre - third), (centre - third, centre - third)
    as (column, row); `jitter` is float32 (N, 3, 2), in pixels. The border is mirrored without repeating the edge.
    """
    size = x.shape[1]
    near, far = size // 2 - size // 3, size // 2 + size // 3
    points = np.array([(far, far), (far, near), (near, near)], np.float32)
    moved = (points + jitter).astype(np.float64)
    by_row = (moved[:, 0] - moved[:, 1]) / (far - near)
    by_column = (moved[:, 1] - moved[:, 2]) / (far - near)
    start = moved[:, 2] - near * (by_row + by_column)

    # Each output pixel needs the place it came from.
    determinant = by_column[:, 0] * by_row[:, 1] - by_row[:, 0] * by_column[:, 1]
    (a, c), (b, d) = by_column.T / determinant, by_row.T / determinant
    column_step, row_step = np.stack([d, -c], 1), np.stack([-b, a], 1)
    origin = -(start[:, :1] * column_step + start[:, 1:] * row_step)
    places = np.arange(size)
    across = np.rint(column_step[:, :, None] * places * FINE)[:, :, None, :]
    along = np.rint((row_step[:, :, None] * places + origin[:, :, None]) * FINE)[:, :, :, None]
    fixed = (across + along + FINE // COARSE // 2).astype(np.int64) // (FINE // COARSE)
    whole = fixed // COARSE
    part = (fixed % COARSE).astype(np.float32) / COARSE
    return bilinear(x, whole[:, 1], whole[:, 0], part[:, 1], part[:, 0], "reflect")
