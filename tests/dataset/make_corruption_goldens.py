"""Freeze what every corruption gives, as tests/dataset/corruption_goldens.npz:

    PYTHONPATH=. python tests/dataset/make_corruption_goldens.py

The file was made after every cell had been compared with the benchmark authors' generator, on the same draws. Remake it
only when a definition or the seeding is meant to change, and compare again before that: tests read it as the truth.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from dataset.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, IMAGE_SIZES, SEVERITIES, corrupt
from dataset.sets.digits import load_digits

GOLDENS = Path(__file__).with_name("corruption_goldens.npz")
SEED = 3
# As a data set's places, not 0 to 3: the seeding is frozen along with the arithmetic.
INDICES = (0, 7, 4321, 9999)
SAMPLES = 64


def golden_images(size: int) -> np.ndarray:
    """uint8 (4, size, size, 3): colours in slopes, a texture of whole-number arithmetic, and two digits."""
    row, column, channel = np.ogrid[:size, :size, :3]
    slopes = np.abs((column * (23 + 4 * channel) + row * (17 + 6 * channel) + 60 * channel) % 510 - 255)
    texture = (row * row * 7 + column * row * 3 + column * (31 + channel * 12)) % 256
    digits = _digits().repeat(size // 32, axis=1).repeat(size // 32, axis=2)
    return np.stack([slopes, texture, *digits]).astype(np.uint8)


@lru_cache(maxsize=1)
def _digits() -> np.ndarray:
    return load_digits(Path(), train=False, download=False).images[:2]


def sample(images: np.ndarray) -> np.ndarray:
    """uint8 (N, SAMPLES): bytes at steps that meet every channel, and many rows and columns."""
    return images.reshape(len(images), -1)[:, :: images[0].size // SAMPLES + 1][:, :SAMPLES]


def measure(name: str, severity: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The sample of each corrupted image and the sum of all its bytes. Frost is the procedural one."""
    corrupted = corrupt(golden_images(size), name, severity, seed=SEED, indices=INDICES)
    return sample(corrupted), corrupted.sum(axis=(1, 2, 3), dtype=np.int64)


def main() -> None:
    goldens = {}
    for size in IMAGE_SIZES:
        for name in (*CORRUPTIONS, *EXTRA_CORRUPTIONS):
            cells = [measure(name, severity, size) for severity in SEVERITIES]
            goldens[f"{name}_{size}_bytes"] = np.stack([cell[0] for cell in cells])
            goldens[f"{name}_{size}_sums"] = np.stack([cell[1] for cell in cells])
    np.savez_compressed(GOLDENS, **goldens)
    print(f"{GOLDENS}: {GOLDENS.stat().st_size} bytes")


if __name__ == "__main__":
    main()
