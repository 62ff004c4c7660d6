"""CIFAR-10-C and CIFAR-100-C as published (Hendrycks & Dietterich, ICLR 2019): one .npy a corruption, five severities.

<corruption>.npy is uint8 (5 * N, S, S, 3), severity s in rows (s - 1) * N to s * N; labels.npy holds 5 * N labels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dataset.source import ArraySource
from helper.errors import UserError

CORRUPTIONS = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
SEVERITIES = (1, 2, 3, 4, 5)
FOLDERS = {"cifar10": "CIFAR-10-C", "cifar100": "CIFAR-100-C"}


def find_corruptions(dataset: str, root: str | Path) -> Path | None:
    """The folder of the corrupted test set below `root`; None where there is none.

    Raises UserError for a folder that lacks one of the 15 corruptions: the mean over the others is not the NPA.
    """
    if dataset not in FOLDERS:
        return None
    folder = Path(root).expanduser() / FOLDERS[dataset]
    if not folder.is_dir():
        return None
    missing = [name for name in (*CORRUPTIONS, "labels") if not (folder / f"{name}.npy").is_file()]
    if missing:
        raise UserError(
            f"{folder} lacks {', '.join(f'{name}.npy' for name in missing)}; unpack the whole archive there"
        )
    return folder


def corrupted_source(folder: Path, corruption: str, severity: int, image_size: int) -> ArraySource:
    """One corruption at one severity (1 to 5), mapped from disk. Raises UserError for arrays of another layout."""
    images, labels = _map(folder / f"{corruption}.npy"), _map(folder / "labels.npy")
    expected = (len(labels), image_size, image_size, 3)
    if images.dtype != np.uint8 or images.shape != expected or len(labels) % len(SEVERITIES):
        raise UserError(
            f"{folder / corruption}.npy is {images.dtype} {images.shape}; labels.npy makes that uint8 {expected}, "
            "with as many images in each of 5 severities"
        )
    count = len(labels) // len(SEVERITIES)
    rows = slice((severity - 1) * count, severity * count)
    return ArraySource(images[rows], labels[rows])


def _map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(f"{path} is no array file, or a damaged one ({error})") from error
