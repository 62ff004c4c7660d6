"""AugMix of whole batches: the operations of dataset/augmix.py byte for byte, and the distribution of the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from attacks.ascent import sample_noise
from dataset import augmix as reference
from dataset.batch_augmix import MAX_DEPTH, NAMES, NONE, NUMBERS, WIDTH, batch_augmix, draw, mix, operate
from helper.hash_random import random_bits, uniform


def pictures(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 (count, size, size, 3): noise, noise of little contrast, one flat channel, stripes, four grey levels."""
    images = np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    images[1::5] = images[1::5].clip(60, 190)
    images[2::5, ..., 1] = 77
    images[3::5] = (np.arange(size) * 7 % 256)[None, :, None]
    images[4::5] //= 64
    return images


def planes(images: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def apply_reference(image: np.ndarray, number: int, level: float) -> np.ndarray:
    return reference.OPERATIONS[number](image, level)


# ---- operations


@pytest.mark.parametrize("size", [32, 33, 64])
@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
def test_an_operation_gives_the_references_bytes(number, size):
    images, levels = pictures(40, size), np.random.default_rng(1).uniform(-10, 10, 40)
    levels[:6] = -10, -3, -0.1, 0.1, 3, 10
    want = np.stack([apply_reference(*case) for case in zip(images, [number] * 40, levels, strict=True)])
    pixels = planes(images)
    operate(pixels, torch.full((40,), number), torch.from_numpy(levels))
    assert torch.equal(pixels, planes(want))


def test_rows_of_one_batch_take_their_own_operations():
    images, rng = pictures(200), np.random.default_rng(2)
    numbers, levels = rng.integers(-1, len(NAMES), 200), rng.uniform(-3, 3, 200)
    want = [
        image if number == NONE else apply_reference(image, number, level)
        for image, number, level in zip(images, numbers, levels, strict=True)
    ]
    pixels = planes(images)
    operate(pixels, torch.from_numpy(numbers), torch.from_numpy(levels))
    assert torch.equal(pixels, planes(np.stack(want)))


@pytest.mark.parametrize("number", [NONE, NAMES.index("rotate"), NAMES.index("equalize")])
def test_a_batch_may_lack_most_operations(number):
    pixels = planes(pictures(1))
    operate(pixels, torch.tensor([number]), torch.tensor([1.0], dtype=torch.float64))
    assert pixels.shape == (1, 3, 32, 32)


# ---- the whole


def test_as_drawn_the_mixture_is_the_references():
    images = pictures(60)
    draws = draw(uniform(torch.arange(60), NUMBERS, 0, 0))
    mixed = mix(planes(images), draws)
    for row, image in enumerate(images):
        weights = draws.weights[row].numpy()
        total = image * weights[0]
        for chain in range(WIDTH):
            chained = image
            for step in range(MAX_DEPTH):
                number = int(draws.operations[step, chain, row])
                if number != NONE:
                    chained = apply_reference(chained, number, float(draws.levels[step, chain, row]))
            total = total + chained * weights[1 + chain]
        np.testing.assert_allclose(mixed[row].numpy().transpose(1, 2, 0), (total / 255).clip(0, 1), atol=1e-6)


def test_what_is_drawn_is_distributed_as_the_paper_says():
    count = 20000
    draws = draw(uniform(torch.arange(count), NUMBERS, 5, 6))
    weights = draws.weights.double()
    assert torch.allclose(weights.sum(1), torch.ones(count, dtype=torch.float64), atol=1e-6)
    blend, shares = 1 - weights[:, 0], weights[:, 1:] / weights[:, 1:].sum(1, keepdim=True)
    error = 5 / count**0.5  # five standard errors of a quantity with variance 1
    # Beta(1, 1) is uniform: its deciles hold a tenth each.
    assert torch.histc(blend, 10, 0, 1).div(count).sub(0.1).abs().max() < 0.3 * error
    # Dirichlet(1, 1, 1): means 1/3, variances 1/18, covariances -1/36; P(share > s) = (1 - s)^2.
    assert (shares.mean(0) - 1 / 3).abs().max() < error * 18**-0.5
    covariance = torch.full((3, 3), -1 / 36).fill_diagonal_(1 / 18)
    assert (torch.cov(shares.T) - covariance).abs().max() < 0.1 * error
    assert abs(float((shares > 0.5).double().mean()) - 0.25) < 0.25 * error
    assert abs(float(torch.corrcoef(torch.stack([blend, shares[:, 0]]))[0, 1])) < error
    depths = (draws.operations != NONE).sum(0)
    assert (torch.bincount(depths.flatten(), minlength=4)[1:] / depths.numel() - 1 / 3).abs().max() < 0.3 * error
    used = draws.operations[draws.operations != NONE]
    assert (torch.bincount(used) / len(used) - 1 / len(NAMES)).abs().max() < 0.2 * error
    sizes = draws.levels.abs()
    assert 0.1 <= sizes.min() < sizes.max() <= 3
    assert torch.histc(sizes, 10, 0.1, 3).div(sizes.numel()).sub(0.1).abs().max() < 0.2 * error
    assert abs(float((draws.levels > 0).double().mean()) - 0.5) < 0.3 * error
    pairs = torch.stack([draws.levels[0, 0], draws.levels[1, 0], draws.levels[0, 1], draws.operations[0, 0].double()])
    assert (torch.corrcoef(pairs) - torch.eye(4)).abs().max() < error


def test_the_whole_agrees_with_the_reference_in_mean_and_variance():
    """Per pixel over many draws of one image: differences in units of their standard errors are those of chance."""
    count, image = 3000, pictures(1, 16, seed=3)[0]
    image[:8] //= 3  # neither symmetric nor flat
    ours = batch_augmix(planes(image[None]).expand(count, -1, -1, -1), torch.arange(count), 1, 2).double().numpy()
    picture = Image.fromarray(image)
    theirs = np.stack([reference.augmix(picture, np.random.default_rng((7, n))) for n in range(count)])
    theirs = theirs.transpose(0, 3, 1, 2).astype(np.float64)
    for power in (1, 2):
        # Moments about the image itself, so that the second one is the strength of the mixing.
        a, b = ((x - image.transpose(2, 0, 1) / 255) ** power for x in (ours, theirs))
        z = (a.mean(0) - b.mean(0)) / np.sqrt((a.var(0) + b.var(0)) / count + 1e-12)
        assert np.abs(z).max() < 5
        # Pixels of one image move together, so the mean square is around 1, but scatters widely.
        assert np.mean(z**2) < 2.5


@pytest.mark.parametrize("size", [32, 64])
def test_shape_type_range_and_input(size):
    images = planes(pictures(30, size))
    before = images.clone()
    mixed = batch_augmix(images, torch.arange(30), 0)
    assert mixed.shape == images.shape
    assert mixed.dtype == torch.float32
    assert 0 <= mixed.min() <= mixed.max() <= 1
    assert torch.equal(images, before)
    assert torch.equal(mixed, batch_augmix(images.float() / 255, torch.arange(30), 0))


def test_an_images_result_is_its_own():
    images = planes(pictures(100))
    whole = batch_augmix(images, torch.arange(100), 4, 1, 2)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(batch_augmix(images[order], order, 4, 1, 2), whole[order])
    assert torch.equal(batch_augmix(images[7:8], torch.tensor([7]), 4, 1, 2), whole[7:8])
    for key in ((5, 1, 2), (4, 2, 2), (4, 1, 3)):
        other = batch_augmix(images, torch.arange(100), *key)
        assert all(not torch.equal(a, b) for a, b in zip(other, whole, strict=True))


def test_hashed_numbers():
    indices = torch.tensor([3, 0, 49999])
    bits = random_bits(indices, 6, 1, 2)
    assert torch.equal(bits[:, :4], random_bits(indices, 4, 1, 2))
    assert torch.equal(bits[1:2], random_bits(torch.tensor([0]), 6, 1, 2))
    numbers = uniform(torch.arange(1000), 100, 0)
    assert 0 < numbers.min() < 1e-4
    assert 1 - 1e-4 < numbers.max() < 1
    assert abs(float(numbers.mean()) - 0.5) < 5 * (12 * 1e5) ** -0.5
    # The starts of attacks in earlier runs are these numbers too, and must not change.
    start = sample_noise(indices, (2, 3), 1, 2)
    assert torch.equal(start, ((bits >> 8).float() * 2.0**-23 - 1).view(3, 2, 3))
