"""The corruptions against frozen results, the benchmark's constants, and the promises of `corrupt`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from make_corruption_goldens import GOLDENS, golden_images, measure
from PIL import Image

from dataset.corruptions import (
    CORRUPTIONS,
    DETERMINISTIC,
    EXTRA_CORRUPTIONS,
    IMAGE_SIZES,
    SEVERITIES,
    TABLE,
    corrupt,
    load_frost,
)
from helper.errors import UserError

EVERY = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
# The others need not: glass and elastic trade one constant for another, a motion or a frost depends on its draw, a
# pixelated size may divide the image better than a larger one, and saturation goes down first and then up.
GROWING = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "defocus_blur", "zoom_blur", "gaussian_blur"),
    *("snow", "fog", "brightness", "contrast", "jpeg_compression"),
)
FLAKES = [
    (0.1, 0.2, 1, 0.6, 8, 3),
    (0.1, 0.2, 1, 0.5, 10, 4),
    (0.15, 0.3, 1.75, 0.55, 10, 4),
    (0.25, 0.3, 2.25, 0.6, 12, 6),
    (0.3, 0.3, 1.25, 0.65, 14, 12),
]
# The paper's constants, copied by hand a second time.
CONSTANTS = {
    "gaussian_noise": ([0.04, 0.06, 0.08, 0.09, 0.10], [0.04, 0.08, 0.12, 0.15, 0.18]),
    "shot_noise": ([500, 250, 100, 75, 50], [250, 100, 50, 30, 15]),
    "impulse_noise": ([0.01, 0.02, 0.03, 0.05, 0.07], [0.01, 0.02, 0.05, 0.08, 0.14]),
    "speckle_noise": ([0.06, 0.1, 0.12, 0.16, 0.2], [0.15, 0.2, 0.25, 0.3, 0.35]),
    "defocus_blur": (
        [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
        [(0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)],
    ),
    "glass_blur": (
        [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
        [(0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)],
    ),
    "motion_blur": (
        [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
        [(10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)],
    ),
    "zoom_blur": ([np.arange(1, end, 0.01) for end in (1.06, 1.11, 1.16, 1.21, 1.26)],) * 2,
    "gaussian_blur": ([0.4, 0.6, 0.7, 0.8, 1], [0.5, 0.75, 1, 1.25, 1.5]),
    "snow": tuple(
        [(*flakes, blend) for flakes, blend in zip(FLAKES, blends, strict=True)]
        for blends in ([0.95, 0.9, 0.9, 0.85, 0.8], [0.8, 0.8, 0.7, 0.65, 0.6])
    ),
    "frost": (
        [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
        [(1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)],
    ),
    "fog": (
        [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
        [(0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)],
    ),
    "brightness": ([0.05, 0.1, 0.15, 0.2, 0.3], [0.1, 0.2, 0.3, 0.4, 0.5]),
    "saturate": (
        [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)],
        [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)],
    ),
    "contrast": ([0.75, 0.5, 0.4, 0.3, 0.15], [0.4, 0.3, 0.2, 0.1, 0.05]),
    "elastic_transform": (
        [(0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03)],
        [(0, 0, 0.08), (0.05, 0.3, 0.06), (0.1, 0.08, 0.06), (0.1, 0.03, 0.03), (0.16, 0.03, 0.02)],
    ),
    "pixelate": ([0.95, 0.9, 0.85, 0.75, 0.65], [0.9, 0.8, 0.7, 0.6, 0.5]),
    "jpeg_compression": ([80, 65, 58, 50, 40], [65, 58, 50, 40, 25]),
}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Five small photographs, each of one grey and both suffixes among them."""
    for number in range(1, 6):
        grey = np.full((350, 400, 3), 40 * number, np.uint8)
        Image.fromarray(grey).save(tmp_path / f"frost{number}.{'png' if number < 4 else 'jpg'}")
    return tmp_path


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("name", EVERY)
def test_results_are_the_frozen_ones(name, size):
    with np.load(GOLDENS) as goldens:
        expected_bytes, expected_sums = goldens[f"{name}_{size}_bytes"], goldens[f"{name}_{size}_sums"]
    for severity in SEVERITIES:
        sampled, sums = measure(name, severity, size)
        np.testing.assert_array_equal(sampled, expected_bytes[severity - 1])
        np.testing.assert_array_equal(sums, expected_sums[severity - 1])


def test_the_names():
    assert len(CORRUPTIONS) == 15
    assert set(EVERY) == set(TABLE) == set(CONSTANTS)
    without_chance = {"defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "saturate", "pixelate"}
    assert without_chance | {"jpeg_compression"} == DETERMINISTIC


@pytest.mark.parametrize("name", EVERY)
def test_constants_are_the_published_ones(name):
    for size, expected in zip(IMAGE_SIZES, CONSTANTS[name], strict=True):
        assert len(expected) == len(SEVERITIES)
        for ours, theirs in zip(TABLE[name].constants[size], expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", EVERY)
def test_shape_type_and_an_untouched_input(name):
    images = golden_images(32)
    before = images.copy()
    corrupted = corrupt(images, name, 3)
    assert corrupted.shape == images.shape
    assert corrupted.dtype == np.uint8
    assert corrupted.flags.writeable
    assert not np.shares_memory(corrupted, images)
    np.testing.assert_array_equal(images, before)
    assert (corrupted[:2] != images[:2]).mean() > 0.02


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("name", GROWING)
def test_a_higher_severity_changes_more(name, size):
    images = golden_images(size).repeat(4, axis=0)
    changes = [np.abs(corrupt(images, name, s).astype(int) - images).mean() for s in SEVERITIES]
    assert all(low < high for low, high in pairwise(changes)), changes


@pytest.mark.parametrize("name", EVERY)
def test_the_seed_and_the_index_decide_the_draws(name):
    images = golden_images(32)[:1].repeat(2, axis=0)
    first = corrupt(images, name, 2, seed=1)
    np.testing.assert_array_equal(first, corrupt(images, name, 2, seed=1))
    same_in_all = name in DETERMINISTIC
    assert np.array_equal(first, corrupt(images, name, 2, seed=2)) == same_in_all
    assert np.array_equal(first[0], first[1]) == same_in_all


def test_corruptions_and_severities_draw_apart():
    """The noise of two severities, and of two corruptions, is not one noise scaled."""
    grey = np.full((1, 32, 32, 3), 128, np.uint8)
    one, two = ((corrupt(grey, "gaussian_noise", s).astype(float) - 128).ravel() for s in (1, 2))
    other = (corrupt(grey, "speckle_noise", 2).astype(float) - 128).ravel()
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.1
    assert abs(np.corrcoef(two, other)[0, 1]) < 0.1


@pytest.mark.parametrize("size", IMAGE_SIZES)
@pytest.mark.parametrize("name", EVERY)
def test_a_row_is_the_same_in_any_block_and_order(name, size, monkeypatch):
    images, indices = golden_images(size), np.array([5, 900, 2, 77])
    together = corrupt(images, name, 5, seed=4, indices=indices)
    backwards = corrupt(images[::-1], name, 5, seed=4, indices=indices[::-1].tolist())[::-1]
    np.testing.assert_array_equal(together, backwards)
    alone = [corrupt(images[i : i + 1], name, 5, seed=4, indices=indices[i : i + 1])[0] for i in range(4)]
    np.testing.assert_array_equal(together, alone)
    monkeypatch.setattr("dataset.corruptions.PIXELS_AT_ONCE", 3 * size * size)
    np.testing.assert_array_equal(together, corrupt(images, name, 5, seed=4, indices=indices))


def test_indices_are_places_when_none_are_given():
    images = golden_images(32)
    np.testing.assert_array_equal(corrupt(images, "fog", 1), corrupt(images, "fog", 1, indices=[0, 1, 2, 3]))


@pytest.mark.parametrize("name", EVERY)
def test_black_white_and_no_images(name):
    flat = np.stack([np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 255, np.uint8)])
    with np.errstate(all="raise", under="ignore"):
        corrupted = corrupt(flat, name, 5)
    # JPEG may miss black and white by one level, and truncation white.
    if name in DETERMINISTIC - {"brightness", "saturate"} | {"glass_blur", "motion_blur", "elastic_transform"}:
        assert corrupted[0].max() <= (name == "jpeg_compression")
        assert corrupted[1].min() >= 254
    elif name in ("shot_noise", "speckle_noise", "fog"):
        assert corrupted[0].max() == 0
    assert corrupt(flat[:0], name, 5).shape == (0, 32, 32, 3)


IMAGES = np.zeros((2, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("images", "name", "severity", "more", "message"),
    [
        (IMAGES, "fogg", 1, {}, "no corruption 'fogg'; there are gaussian_noise, .*, saturate$"),
        (IMAGES, "fog", 0, {}, "no severity 0; there are 1, 2, 3, 4, 5"),
        (IMAGES, "fog", 6, {}, "no severity 6"),
        (IMAGES, "fog", 1.0, {}, r"no severity 1\.0"),
        (IMAGES / 255, "fog", 1, {}, "the images are float64; .* uint8"),
        ([[1]], "fog", 1, {}, "the images are list"),
        (IMAGES[0], "fog", 1, {}, r"shape \(32, 32, 3\); .* \(N, S, S, 3\), S being 32 or 64"),
        (IMAGES[:, :16], "fog", 1, {}, r"shape \(2, 16, 32, 3\)"),
        (IMAGES[:, :16, :16], "fog", 1, {}, "16 pixels a side; .* 32 or 64"),
        (IMAGES, "fog", 1, {"seed": -1}, "seed is -1"),
        (IMAGES, "fog", 1, {"seed": 0.5}, r"seed is 0\.5"),
        (IMAGES, "fog", 1, {"indices": [1]}, "1 indices for 2 images"),
        (IMAGES, "fog", 1, {"indices": [1, -1]}, "index is no whole number"),
        (IMAGES, "fog", 1, {"indices": [1, 0.5]}, "index is no whole number"),
    ],
)
def test_what_cannot_be_corrupted_is_named(images, name, severity, more, message):
    with pytest.raises(UserError, match=message):
        corrupt(images, name, severity, **more)


@pytest.mark.parametrize("size", IMAGE_SIZES)
def test_photographs_and_the_texture_differ_and_say_so(size, photographs):
    real, texture = load_frost(photographs, size), load_frost(None, size)
    assert (real.source, texture.source) == ("photographs", "procedural")
    assert real.digest != texture.digest
    assert len(real.digest) == 64
    shrunk = (80, 70) if size == 32 else (120, 105)
    assert [p.shape[1::-1] for p in real.photographs] == [shrunk] * 5
    assert [int(p.mean().round()) for p in real.photographs] == [40, 80, 120, 160, 200]
    images = np.zeros((40, size, size, 3), np.uint8)
    factor = TABLE["frost"].constants[size][4][1]
    with_real = corrupt(images, "frost", 5, frost=real)
    assert set(np.unique(with_real)) == {int(factor * grey) for grey in (40, 80, 120, 160, 200)}
    np.testing.assert_array_equal(corrupt(images, "frost", 5), corrupt(images, "frost", 5, frost=texture))
    assert (with_real != corrupt(images, "frost", 5)).mean() > 0.5


def test_shrinking_takes_the_nearest_two_pixels():
    """At 20 % every fifth pixel; at 30 % the first place is (0 + 1/2) / 0.3 - 1/2 = 1.167."""
    from dataset.corruptions.frost import shrink

    ramp = np.broadcast_to(np.arange(0, 240, 6, dtype=np.uint8)[:, None], (40, 40))
    photograph = np.stack([ramp, ramp.T, ramp], axis=2)
    np.testing.assert_array_equal(shrink(photograph, 32), photograph[2::5, 2::5])
    places = (np.arange(12) + 0.5) / 0.3 - 0.5
    small = shrink(photograph, 64)
    assert np.abs(small[:, 5, 0] - 6 * places).max() < 0.6
    assert np.abs(small[5, :, 1] - 6 * places).max() < 0.6


def test_frost_that_cannot_be_had_is_named(photographs):
    with pytest.raises(UserError, match="no frost for images of 16 pixels; there is some for 32, 64"):
        load_frost(None, 16)
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        load_frost(photographs / "nowhere", 32)
    (photographs / "frost4.jpg").rename(photographs / "frost4.jpeg")
    assert load_frost(photographs, 32).source == "photographs"
    small = Image.new("RGB", (400, 160))
    small.save(photographs / "frost4.jpeg")
    with pytest.raises(UserError, match=r"frost4\.jpeg has 400x160 pixels; it takes 170 on both sides"):
        load_frost(photographs, 32)
    (photographs / "frost4.jpeg").unlink()
    with pytest.raises(UserError, match="lacks the photograph frost4"):
        load_frost(photographs, 32)
    (photographs / "frost3.png").write_bytes((photographs / "frost3.png").read_bytes()[:60])
    with pytest.raises(UserError, match=r"cannot read the image .*frost3\.png .*put a whole copy"):
        load_frost(photographs, 32)
