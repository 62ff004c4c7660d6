"""RGB and HSV, all in [0, 1]. The formulas are kept step by step, because the benchmark truncates what comes out."""

from __future__ import annotations

import numpy as np


def rgb_to_hsv(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 (..., 3) -> hue, saturation and value, each (...). Grey has hue 0 and saturation 0."""
    red, green, blue = (np.ascontiguousarray(x[..., channel]) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    range_ = value - np.minimum(np.minimum(red, green), blue)
    coloured = np.where(range_ == 0, 1, range_)
    # Of two equal maxima the later channel decides, which matters for the last bit alone.
    hue = np.where(
        blue == value,
        4 + (red - green) / coloured,
        np.where(green == value, 2 + (blue - red) / coloured, (green - blue) / coloured),
    )
    hue = np.where(range_ == 0, 0, (hue / 6) % 1)
    return hue, range_ / np.where(value == 0, 1, value), value


def hsv_to_rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Three float64 (...) -> (..., 3)."""
    sixth = np.floor(hue * 6)
    part = hue * 6 - sixth
    low = value * (1 - saturation)
    falling = value * (1 - part * saturation)
    rising = value * (1 - (1 - part) * saturation)
    sector = sixth.astype(np.uint8) % 6
    x = np.empty((*hue.shape, 3))
    x[..., 0] = np.choose(sector, [value, falling, low, low, rising, value])
    x[..., 1] = np.choose(sector, [rising, value, value, falling, low, low])
    x[..., 2] = np.choose(sector, [low, low, rising, value, value, falling])
    return x
