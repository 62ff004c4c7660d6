"""The part of a training set that is held out to select a model by."""

from __future__ import annotations

import numpy as np

from helper.errors import UserError


def heldout_split(labels: np.ndarray, fraction: float = 0.1, most: int = 2500) -> tuple[np.ndarray, np.ndarray]:
    """Two sorted int64 arrays, train and held-out indices, that together are all of range(len(labels)).

    `fraction` of the images is held out, but at most `most`; each class gives its share, rounded so that the total is
    met. Nothing is drawn: the images are evenly spaced within their class, so every run, seed and version holds out the
    same. Raises UserError when nothing could be held out.
    """
    labels = np.asarray(labels)
    classes, sizes = np.unique(labels, return_counts=True)
    total = min(round(fraction * len(labels)), most)
    shares = total * sizes / max(len(labels), 1)
    counts = np.floor(shares).astype(np.int64)
    by_remainder = np.argsort(counts - shares, kind="stable")  # the largest remainder first, ties by class
    counts[by_remainder[: total - counts.sum()]] += 1
    counts = np.minimum(counts, sizes - 1)  # training needs one of each
    held = np.zeros(len(labels), dtype=bool)
    for label, size, count in zip(classes, sizes, counts, strict=True):
        members = np.flatnonzero(labels == label)
        held[members[(2 * np.arange(count) + 1) * size // (2 * max(count, 1))]] = True
    if not held.any():
        raise UserError(f"{len(labels)} training images are too few to hold out some; choose another --select_on")
    return np.flatnonzero(~held), np.flatnonzero(held)
