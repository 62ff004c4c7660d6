"""Folders of images in class folders, as users have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog")


def save_image(path: Path, size: tuple[int, int], grey: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey,) * 3).save(path)


def make_folder(path: Path, *, train: int, test: int, sizes: tuple[int, int]) -> Path:
    """So many images a class in train/ and test/, with sides from the first to the second of `sizes` and noise in them
    that is brighter in one class.
    """
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for label, name in enumerate(CLASSES):
            (path / part / name).mkdir(parents=True)
            for number in range(count):
                height, width = rng.integers(sizes[0], sizes[1] + 1, 2)
                pixels = rng.integers(128, size=(height, width, 3)) + 127 * label
                Image.fromarray(pixels.astype(np.uint8)).save(path / part / name / f"{number}.png")
    return path
