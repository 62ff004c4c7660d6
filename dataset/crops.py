"""Random and fixed crops. All take and give RGB images; all that is random comes from `rng`."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from dataset.source import ImageSource
from dataset.spec import DatasetSpec

MIN_AREA, MAX_AREA = 0.08, 1.0
MIN_RATIO, MAX_RATIO = 3 / 4, 4 / 3
BILINEAR = Image.Resampling.BILINEAR


def padded_crop(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """Pad by black, an eighth of the size on every side (4 pixels at 32), then cut out a random square."""
    pad = size // 8
    left, top = (int(offset) - pad for offset in rng.integers(0, 2 * pad + 1, 2))
    return image.crop((left, top, left + size, top + size))  # Pillow fills what lies outside with black


def random_resized_crop(image: Image.Image, size: int, rng: np.random.Generator) -> Image.Image:
    """A random rectangle, resized to a square (Szegedy et al., "Going deeper with convolutions", CVPR 2015)."""
    width, height = image.size
    for _ in range(10):
        area = rng.uniform(MIN_AREA, MAX_AREA) * width * height
        ratio = math.exp(rng.uniform(math.log(MIN_RATIO), math.log(MAX_RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            break
    else:  # a very long image: its middle, as little cut as the ratios allow
        w, h = min(width, round(height * MAX_RATIO)), min(height, round(width / MIN_RATIO))
        left, top = (width - w) // 2, (height - h) // 2
    return image.crop((left, top, left + w, top + h)).resize((size, size), BILINEAR)


def resized_centre_crop(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to 8/7 of the size (256 for 224), then the square in the middle."""
    short = size * 8 // 7
    scale = min(image.size)
    width, height = (int(short * side / scale) for side in image.size)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.resize((width, height), BILINEAR).crop((left, top, left + size, top + size))


def random_flip(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else image


class CutImages(ImageSource):
    """The images of `source`, cut to a square of `size` pixels as an evaluation cuts them."""

    def __init__(self, source: ImageSource, size: int):
        super().__init__(source.labels, source.classes)
        self.source, self.size = source, size

    def image(self, index: int) -> Image.Image:
        return resized_centre_crop(self.source.image(index), self.size)


def fitted(source: ImageSource, spec: DatasetSpec) -> ImageSource:
    """`source` with every image of its network's size."""
    return CutImages(source, spec.image_size) if spec.any_size else source
