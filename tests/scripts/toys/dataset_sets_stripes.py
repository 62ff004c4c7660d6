"""Stripes, upright or lying: a data set of two classes that is drawn, not read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataset.source import ArraySource
from dataset.spec import DatasetSpec


def load_stripes(root: Path, *, train: bool, download: bool) -> ArraySource:
    generator = np.random.default_rng(int(train))
    labels = np.arange(80 if train else 24) % 2
    images = generator.integers(0, 60, (len(labels), 32, 32, 3)).astype(np.uint8)
    images[labels == 0, :, ::4] += 190
    images[labels == 1, ::4] += 190
    return ArraySource(images, labels, ("upright", "lying"))


STRIPES = DatasetSpec(
    name="stripes",
    title="Stripes",
    num_classes=2,
    image_size=32,
    mean=(0.3, 0.3, 0.3),
    std=(0.3, 0.3, 0.3),
    load=load_stripes,
    corrupted_folder="Stripes-C",
)
