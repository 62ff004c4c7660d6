"""The corruptions against naive ones: one pixel at a time, written from the definitions, on the same draws."""

from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest

from dataset.corruptions import blur, corrupt
from dataset.corruptions.filters import disk
from dataset.corruptions.plasma import plasma
from dataset.corruptions.warp import move_points

NUMBERS = {"impulse_noise": 2, "motion_blur": 5, "fog": 9, "elastic_transform": 12}
SEED, PLACE = 11, 250


@pytest.fixture
def image() -> np.ndarray:
    """Smooth in part, coarse in part: uint8 (32, 32, 3)."""
    row, column, channel = np.ogrid[:32, :32, :3]
    slopes = np.abs((column * (13 + channel) + row * (9 + 4 * channel) + 60 * channel) % 510 - 255)
    coarse = (row * row * 7 + column * row * 3 + column * (31 + channel * 12)) % 256
    return np.where(row < 16, slopes, coarse).astype(np.uint8)


def draws(name: str, severity: int) -> np.random.Generator:
    """The generator that the definition of the seeding promises to this image."""
    return np.random.default_rng((SEED, NUMBERS[name], severity, PLACE))


def ours(image: np.ndarray, name: str, severity: int) -> np.ndarray:
    return corrupt(image[None], name, severity, seed=SEED, indices=[PLACE])[0]


def truncated(x: np.ndarray) -> np.ndarray:
    return (np.clip(x, 0, 1) * 255).astype(np.uint8)


def assert_near(one: np.ndarray, other: np.ndarray) -> None:
    """A sum in another order ends below a whole number now and then, and is truncated."""
    difference = np.abs(one.astype(int) - other)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def mirrored(i: int, size: int, repeat_edge: bool) -> int:
    while not 0 <= i < size:
        i = (-i - repeat_edge) if i < 0 else (2 * size - 2 + repeat_edge - i)
    return i


def sampled(x: np.ndarray, row: float, column: float, repeat_edge: bool) -> np.ndarray:
    """Bilinear, mirrored: the colour at one place."""
    top, left = math.floor(row), math.floor(column)
    total = np.zeros(3)
    for r, row_weight in ((top, 1 - (row - top)), (top + 1, row - top)):
        for c, weight in ((left, 1 - (column - left)), (left + 1, column - left)):
            total += x[mirrored(r, len(x), repeat_edge), mirrored(c, len(x), repeat_edge)] * row_weight * weight
    return total


def test_impulse_noise(image):
    rng = draws("impulse_noise", 5)
    replaced, white = rng.random(image.shape) < 0.07, rng.random(image.shape) < 0.5
    expected = image.copy()
    expected[replaced & white] = 255
    expected[replaced & ~white] = 0
    np.testing.assert_array_equal(ours(image, "impulse_noise", 5), expected)
    assert 100 < replaced.sum() < 330


@pytest.mark.parametrize(("radius", "sigma"), [(0.3, 0.4), (1, 0.2), (2.5, 0.01), (3, 0.1)])
def test_the_disk(radius, sigma):
    sharp = np.array([[float(i * i + j * j <= radius * radius) for j in range(-9, 10)] for i in range(-9, 10)])
    sharp /= sharp.sum()
    weights = np.array([[math.exp(-(i * i + j * j) / (2 * sigma * sigma)) for j in (-1, 0, 1)] for i in (-1, 0, 1)])
    weights /= weights.sum()
    smooth = np.zeros((17, 17))
    for i in range(17):
        for j in range(17):
            smooth[i, j] = (sharp[i : i + 3, j : j + 3] * weights).sum()
    np.testing.assert_allclose(disk(radius, sigma), smooth, atol=1e-7)


def test_defocus_blur(image):
    kernel = disk(1.5, 0.1)
    x = image / 255
    expected = np.zeros_like(x)
    for row in range(32):
        for column in range(32):
            for i, j in np.argwhere(kernel > 1e-9) - 8:
                source = x[mirrored(row + i, 32, False), mirrored(column + j, 32, False)]
                expected[row, column] += kernel[i + 8, j + 8] * source
    assert_near(ours(image, "defocus_blur", 5), truncated(expected))


@pytest.mark.parametrize(("reach", "rounds"), [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_glass_blur_copies(image, reach, rounds):
    """With a sigma too small to blur."""
    rng = np.random.default_rng(5)
    expected = image.copy()
    for _ in range(rounds):
        for row in range(32 - reach, reach, -1):
            for column in range(32 - reach, reach, -1):
                dx, dy = rng.integers(-reach, reach, 2)
                expected[row, column] = expected[row + dy, column + dx]
    glass = blur.glass_blur(np.stack([image, image]), (0.01, reach, rounds), [np.random.default_rng(s) for s in (5, 6)])
    np.testing.assert_array_equal(glass[0], expected)
    assert (glass[1] != expected).any()


@pytest.mark.parametrize("angle", [-45, -20, 0, 31, 45, None])
def test_motion_blur(image, angle):
    """None: the angle that the corruption draws."""
    radius, sigma = 9, 2.5
    if angle is None:
        blurred, angle = ours(image, "motion_blur", 5), draws("motion_blur", 5).uniform(-45, 45)
    else:
        blurred = blur.filters.motion_blur(image[None], radius, sigma, np.array([angle]))[0]
    t = math.radians(angle)
    weights = [math.exp(-i * i / (2 * sigma * sigma)) for i in range(2 * radius + 1)]
    total = np.zeros(image.shape)
    for row in range(32):
        for column in range(32):
            for i, weight in enumerate(weights):
                r = min(max(row + math.ceil(i * math.sin(t) - 0.5), 0), 31)
                c = min(max(column + math.ceil(i * math.cos(t) - 0.5), 0), 31)
                total[row, column] += weight / sum(weights) * 257.0 * image[r, c]
    np.testing.assert_array_equal(blurred, np.floor(total + 0.5).astype(int) // 257)


@pytest.mark.parametrize(("severity", "last"), [(1, 106), (2, 111), (3, 115)])
def test_zoom_blur(image, severity, last):
    x = image / 255
    total = x.copy()
    for factor in np.arange(100, last + 1) / 100:
        crop = math.ceil(32 / factor)
        enlarged = round(crop * factor)
        start, cut = (32 - crop) // 2, (enlarged - 32) // 2
        inner = x[start : start + crop, start : start + crop]
        step = (crop - 1) / (enlarged - 1)
        for row in range(32):
            for column in range(32):
                total[row, column] += sampled(inner, (row + cut) * step, (column + cut) * step, True)
    assert_near(ours(image, "zoom_blur", severity), truncated(total / (last - 100 + 2)))


def naive_plasma(rng: np.random.Generator, size: int, decay: float) -> np.ndarray:
    heights, step, wibble = {(0, 0): 0.0}, size, 100.0

    def fill(rows, columns, neighbours):
        jitter = iter(rng.uniform(-wibble, wibble, (len(rows), len(columns))).ravel())
        for r in rows:
            for c in columns:
                near = [heights[(r + i) % size, (c + j) % size] for i, j in neighbours]
                heights[r, c] = sum(near) / 4 + wibble * next(jitter)

    while step > 1:
        half = step // 2
        corners, middles = range(0, size, step), range(half, size, step)
        fill(middles, middles, [(-half, -half), (-half, half), (half, -half), (half, half)])
        cross = [(-half, 0), (half, 0), (0, -half), (0, half)]
        fill(corners, middles, cross)
        fill(middles, corners, cross)
        step, wibble = half, wibble / decay
    field = np.array([[heights[r, c] for c in range(size)] for r in range(size)])
    return (field - field.min()) / (field.max() - field.min())


@pytest.mark.parametrize(("size", "decay"), [(8, 3), (32, 1.75), (64, 2)])
def test_plasma(size, decay):
    fields = plasma([np.random.default_rng(s) for s in (1, 2)], size, decay)
    np.testing.assert_allclose(fields[1], naive_plasma(np.random.default_rng(2), size, decay), atol=1e-12)


def test_fog(image):
    dim = image // 2
    x = dim / 255
    cloud = naive_plasma(draws("fog", 3), 32, 2.5)[..., None]
    assert_near(ours(dim, "fog", 3), truncated((x + 0.75 * cloud) * x.max() / (x.max() + 0.75)))


def test_contrast_and_brightness(image):
    x = image / 255
    expected = np.stack([(x[..., c] - x[..., c].mean()) * 0.3 + x[..., c].mean() for c in range(3)], axis=2)
    assert_near(ours(image, "contrast", 4), truncated(expected))
    for row in range(32):
        for column in range(32):
            h, s, v = colorsys.rgb_to_hsv(*x[row, column])
            expected[row, column] = colorsys.hsv_to_rgb(h, s, min(v + 0.15, 1))
    assert_near(ours(image, "brightness", 3), truncated(expected))


def test_saturate(image):
    expected = image / 255
    for row in range(32):
        for column in range(32):
            h, s, v = colorsys.rgb_to_hsv(*expected[row, column])
            expected[row, column] = colorsys.hsv_to_rgb(h, min(s * 2 + 0.1, 1), v)
    assert_near(ours(image, "saturate", 4), truncated(expected))


def naive_affine(x: np.ndarray, jitter: np.ndarray) -> np.ndarray:
    """Places are rounded to 1/32 pixel: steps and starts to 1/1024 each, their sum to 1/32."""
    centre, third = 16, 10
    points = [(centre + third, centre + third), (centre + third, centre - third), (centre - third, centre - third)]
    source = np.array([(*point, 1) for point in points], dtype=np.float64)
    forward = np.linalg.solve(source, (np.array(points, np.float32) + jitter).astype(np.float64)).T
    inverse = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))
    warped = np.zeros_like(x)
    for row in range(32):
        for column in range(32):
            fine = [round(1024 * inverse[k, 0] * column) for k in (0, 1)]
            fine = [f + round(1024 * (inverse[k, 1] * row + inverse[k, 2])) for k, f in enumerate(fine)]
            c, r = (math.floor((f + 16) / 32) / 32 for f in fine)
            warped[row, column] = sampled(x, r, c, False)
    return warped


def naive_gaussian(field: np.ndarray, sigma: float) -> np.ndarray:
    reach = int(3 * sigma + 0.5)
    weights = [math.exp(-i * i / (2 * sigma * sigma)) for i in range(-reach, reach + 1)]
    for _ in range(2):
        taps = [field[[mirrored(r + i, 32, True) for r in range(32)]] for i in range(-reach, reach + 1)]
        field = sum(w * tap for w, tap in zip(weights, taps, strict=True)).T / sum(weights)
    return field


@pytest.mark.parametrize(
    ("severity", "alpha", "sigma", "affine"), [(1, 0, 0, 0.08), (2, 0.05, 0.2, 0.07), (4, 0.1, 0.04, 0.05)]
)
def test_elastic_transform(image, severity, alpha, sigma, affine):
    rng = draws("elastic_transform", severity)
    jitter = rng.uniform(-32 * affine, 32 * affine, (3, 2)).astype(np.float32)
    x = naive_affine(image / 255, jitter)
    # A place on the border of two steps may fall either way, but few do.
    moved = move_points(image[None].astype(np.float32) / 255, jitter[None])[0]
    assert (np.abs(moved - x) < 1e-5).mean() > 0.999
    expected = x
    if alpha:
        columns, rows = (naive_gaussian(rng.uniform(-1, 1, (32, 32)), 32 * sigma) * 32 * alpha for _ in range(2))
        expected = np.array(
            [[sampled(x, r + rows[r, c], c + columns[r, c], True) for c in range(32)] for r in range(32)]
        )
    assert_near(ours(image, "elastic_transform", severity), truncated(expected))
