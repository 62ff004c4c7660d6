"""The 1,797 handwritten digits that come with scikit-learn (Alpaydin and Kaynak, UCI, 1998): real, and no download.

8x8 pixels with values 0 to 16, enlarged here to 32x32 RGB so that every network for CIFAR takes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dataset.source import ArraySource
from dataset.spec import DatasetSpec
from helper.errors import UserError

SIZE = 32


def load_digits(root: Path, *, train: bool, download: bool) -> ArraySource:
    """1,442 training or 355 test images; within each class every fifth one, by its place in the set, is for test.

    `root` and `download` are not used. Raises UserError without scikit-learn.
    """
    try:
        from sklearn import datasets  # here, because it takes a second that no other data set should pay
    except ImportError as error:
        raise UserError("the digits come with scikit-learn, which is missing: pip install scikit-learn") from error
    images, labels = datasets.load_digits(return_X_y=True)
    taken = is_test(labels) != train
    pixels = np.rint(images[taken].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return ArraySource(np.stack([enlarge(image) for image in pixels]), labels[taken], "0123456789")


def is_test(labels: np.ndarray) -> np.ndarray:
    """bool (N,). Counted, not drawn, so that no version of any library changes the split."""
    place = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = np.arange(len(members))
    return place % 5 == 4


def enlarge(pixels: np.ndarray) -> np.ndarray:
    """uint8 (8, 8) -> uint8 (32, 32, 3)."""
    image = Image.fromarray(pixels).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(image.convert("RGB"))


DIGITS = DatasetSpec(
    name="digits",
    title="Digits",
    num_classes=10,
    image_size=SIZE,
    mean=(0.3054, 0.3054, 0.3054),  # of its training images, as is the deviation
    std=(0.3237, 0.3237, 0.3237),
    load=load_digits,
    corrupted_folder="digits-C",
    flip=False,  # a mirrored 2 is another character
)
