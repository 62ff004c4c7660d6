"""The frost that is laid over images: the benchmark's photographs, or a texture that needs no file.

The photographs are data and come from a folder. The texture looks and weighs like them, but accuracies under it are not
comparable with published ones: `Frost.source` says which it was.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from dataset.corruptions.frost_texture import textures
from dataset.source import image_file
from helper.errors import UserError

# The benchmark ships six and draws among the first five.
PHOTOGRAPHS = 5
SUFFIXES = (".png", ".jpg", ".jpeg")
SHRINK = {32: 0.2, 64: 0.3}


@dataclass(frozen=True)
class Frost:
    """`photographs`: uint8 (H, W, 3) RGB each, shrunk for one image size and larger than it on both sides. `source`:
    "photographs" or "procedural". `digest`: the SHA-256 of all pixels.
    """

    photographs: tuple[np.ndarray, ...]
    source: str
    digest: str


def load_frost(folder: Path | None, image_size: int) -> Frost:
    """The first five photographs of `folder`, frost1 to frost5, shrunk; the texture where `folder` is None.

    Raises UserError for an image size without constants, and for a folder or photograph that is missing, cannot be read
    or is too small.
    """
    if image_size not in SHRINK:
        raise UserError(f"no frost for images of {image_size} pixels; there is some for {', '.join(map(str, SHRINK))}")
    if folder is None:
        return _procedural(image_size)
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; it should hold the frost photographs frost1 to frost5")
    return _frost([shrink(_read(folder, n, image_size), image_size) for n in range(1, PHOTOGRAPHS + 1)], "photographs")


def shrink(photograph: np.ndarray, image_size: int) -> np.ndarray:
    """uint8 (H, W, 3) -> uint8, 20 % of the sides for 32-pixel images and 30 % for 64-pixel ones, bilinear.

    Bilinear between the two nearest pixels, in 11-bit fixed point and nothing averaged, as the benchmark's was. At 20 %
    every place falls on a pixel.
    """
    factor = SHRINK[image_size]
    (top, down), (left, right) = (_places(length, factor) for length in photograph.shape[:2])
    last_row, last_column = (length - 1 for length in photograph.shape[:2])
    x = photograph.astype(np.int64)
    right = right[:, None]
    across = x[:, left] * (2048 - right) + x[:, np.minimum(left + 1, last_column)] * right
    across >>= 4
    down = down[:, None, None]
    upper = across[top] * (2048 - down) >> 16
    lower = across[np.minimum(top + 1, last_row)] * down >> 16
    return (upper + lower + 2 >> 2).astype(np.uint8)


def _places(length: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """The pixel before each place, and how far behind it the place lies, in 2048ths."""
    place = ((np.arange(round(length * factor)) + 0.5) * (1 / factor) - 0.5).astype(np.float32)
    before = np.floor(place)
    return before.astype(np.int64), np.rint((place - before) * 2048).astype(np.int64)


def _read(folder: Path, number: int, image_size: int) -> np.ndarray:
    found = [path for suffix in SUFFIXES if (path := folder / f"frost{number}{suffix}").is_file()]
    if not found:
        raise UserError(f"{folder} lacks the photograph frost{number}{{{','.join(SUFFIXES)}}}")
    with image_file(found[0]) as stored:
        photograph = np.asarray(stored.convert("RGB"))
    # One pixel more than the image, for there to be a place to draw.
    if min(round(length * SHRINK[image_size]) for length in photograph.shape[:2]) <= image_size:
        height, width, _ = photograph.shape
        needed = int((image_size + 2) / SHRINK[image_size])
        raise UserError(f"the photograph {found[0]} has {width}x{height} pixels; it takes {needed} on both sides")
    return photograph


def _frost(photographs: list[np.ndarray], source: str) -> Frost:
    digest = hashlib.sha256()
    for photograph in photographs:
        photograph.setflags(write=False)
        digest.update(photograph.tobytes())
    return Frost(tuple(photographs), source, digest.hexdigest())


@lru_cache(maxsize=len(SHRINK))
def _procedural(image_size: int) -> Frost:
    return _frost([shrink(texture, image_size) for texture in textures()], "procedural")
