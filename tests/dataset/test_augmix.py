"""Crops, and AugMix of one image."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from dataset import augmix as operations
from dataset.augmix import OPERATIONS, augmix
from dataset.crops import padded_crop, random_resized_crop, resized_centre_crop


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_padded_crop_is_a_shifted_image_on_black():
    image = Image.fromarray(noise(64))
    padded = np.pad(noise(64), ((8, 8), (8, 8), (0, 0)))
    shifts = {(y, x): padded[y : y + 64, x : x + 64].tobytes() for y in range(17) for x in range(17)}
    rng = np.random.default_rng(0)
    crops = [padded_crop(image, 64, rng).tobytes() for _ in range(500)]
    seen = {next(shift for shift, pixels in shifts.items() if pixels == crop) for crop in crops}
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(17))


@pytest.mark.parametrize("size", [(500, 375), (9, 300), (224, 224)])
def test_imagenet_crops_give_squares(size):
    image, rng = Image.new("RGB", size), np.random.default_rng(0)
    assert {random_resized_crop(image, 224, rng).size for _ in range(20)} == {(224, 224)}
    assert resized_centre_crop(image, 224).size == (224, 224)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_augmix_shape_range_and_determinism(size):
    image = Image.fromarray(noise(size))
    mixed = [augmix(image, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert mixed[0].shape == (size, size, 3)
    assert mixed[0].dtype == np.float32
    assert all(m.min() >= 0 and m.max() <= 1 for m in mixed)
    assert np.array_equal(mixed[0], mixed[1])
    assert not np.array_equal(mixed[0], mixed[2])
    assert np.array_equal(np.asarray(image), noise(size))  # no operation wrote into its input


def test_augmix_mixes_chains_and_image_by_their_weights(monkeypatch):
    """With operations that always give white, m is read off the result: (1 - m) * image + m * 1."""
    monkeypatch.setattr(operations, "OPERATIONS", (lambda pixels, level: np.full_like(pixels, 255),))
    image = Image.new("RGB", (20, 50), (51, 102, 0))
    blends = []
    for seed in range(400):
        mixed = augmix(image, np.random.default_rng(seed), width=2, depth=1)
        assert mixed.shape == (50, 20, 3)
        blends.append(mixed[0, 0, 2])
        assert np.allclose(mixed[7, 3], (1 - blends[-1]) * np.array([0.2, 0.4, 0]) + blends[-1], atol=1e-6)
    assert np.mean(blends) == pytest.approx(0.5, abs=0.05)  # Beta(1, 1) is uniform
    assert np.std(blends) == pytest.approx(12**-0.5, abs=0.03)


def test_augmix_draws_depth_level_and_direction(monkeypatch):
    levels = []
    monkeypatch.setattr(operations, "OPERATIONS", (lambda pixels, level: levels.append(level) or pixels,))
    depths = []
    for seed in range(300):
        before = len(levels)
        augmix(Image.new("RGB", (4, 4)), np.random.default_rng(seed), width=1)
        depths.append(len(levels) - before)
    assert set(depths) == {1, 2, 3}
    assert np.mean(np.array(levels) > 0) == pytest.approx(0.5, abs=0.1)
    assert 0.1 <= np.abs(levels).min() < 0.2
    assert 2.9 < np.abs(levels).max() <= 3


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("level", [-10, -0.1, 0.1, 10])
def test_operations_give_new_pixels_of_the_same_shape(operation, level):
    pixels = np.ascontiguousarray(noise(48)[:40])
    pixels.setflags(write=False)
    out = operation(pixels, level)
    assert out.shape == pixels.shape
    assert out.dtype == np.uint8


@pytest.mark.parametrize("low", [0, 60])
def test_tone_operations_equal_pillows(low):
    pixels = np.clip(noise(32), low, 190)
    pixels[..., 1] = 77  # a channel without contrast
    image = Image.fromarray(pixels)
    for ours, theirs in (
        (operations.autocontrast(pixels, 1), ImageOps.autocontrast(image)),
        (operations.equalize(pixels, 1), ImageOps.equalize(image)),
        (operations.posterize(pixels, 2.4), ImageOps.posterize(image, 4)),
        (operations.posterize(pixels, -2.5), ImageOps.posterize(image, 3)),
        (operations.solarize(pixels, 3), ImageOps.solarize(image, 256 - 76)),
        (operations.rotate(pixels, -2.9), image.rotate(-8, Image.Resampling.BILINEAR)),
    ):
        assert np.array_equal(ours, np.asarray(theirs))


def test_tone_operations_by_hand():
    ramp = np.repeat(np.array([[50, 100, 150]], dtype=np.uint8)[..., None], 3, axis=2)
    assert operations.autocontrast(ramp, 1)[0, :, 0].tolist() == [0, 127, 255]
    assert operations.solarize(ramp, -5)[0, :, 0].tolist() == [50, 100, 105]
    assert operations.posterize(ramp, 3)[0, :, 0].tolist() == [32, 96, 128]


@pytest.mark.parametrize(("size", "shift"), [(32, 3), (64, 6), (224, 22)])
def test_translation_goes_with_the_images_size(size, shift):
    pixels = noise(size)
    left = operations.translate_x(pixels, 3)
    assert np.array_equal(left[:, : size - shift], pixels[:, shift:])
    assert not left[:, size - shift :].any()
    down = operations.translate_y(pixels, -3)
    assert np.array_equal(down[shift:], pixels[: size - shift])
    assert not down[:shift].any()
    # Whole pixels: the bilinear filter would give the same.
    assert np.array_equal(left, operations.affine(pixels, (1, 0, shift, 0, 1, 0)))


def test_shears_move_lines_in_either_direction():
    pixels = noise(41)
    for level in (3, -3):
        x, y = operations.shear_x(pixels, level), operations.shear_y(pixels, level)
        assert np.array_equal(x, operations.shear_y(pixels.swapaxes(0, 1), level).swapaxes(0, 1))
        assert not np.array_equal(x, y)
    column = np.zeros((41, 41, 3), dtype=np.uint8)
    column[:, 20] = 255
    centre = np.stack([np.average(np.arange(41), weights=row) for row in operations.shear_x(column, 3)[..., 0]])
    assert np.allclose(centre, 20 - 0.09 * (np.arange(41) + 0.5), atol=0.02)
