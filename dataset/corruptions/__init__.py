"""The common corruptions of CIFAR-10-C and Tiny-ImageNet-C, made from clean images (Hendrycks & Dietterich,
"Benchmarking neural network robustness to common corruptions and perturbations", ICLR 2019).

To add a corruption, write one function in the file of its family and give it a row in that file's table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from dataset.corruptions.base import Corruption
from dataset.corruptions.blur import BLURS
from dataset.corruptions.digital import DIGITAL
from dataset.corruptions.frost import Frost, load_frost
from dataset.corruptions.noise import NOISES
from dataset.corruptions.weather import WEATHER
from helper.errors import UserError

__all__ = [
    "CORRUPTIONS",
    "DETERMINISTIC",
    "EXTRA_CORRUPTIONS",
    "IMAGE_SIZES",
    "SEVERITIES",
    "TABLE",
    "Frost",
    "corrupt",
    "load_frost",
]

TABLE: dict[str, Corruption] = {**NOISES, **BLURS, **WEATHER, **DIGITAL}
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
# The benchmark's spare ones, outside its mean.
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "saturate")
DETERMINISTIC = frozenset(name for name, row in TABLE.items() if not row.random)
SEVERITIES = (1, 2, 3, 4, 5)
IMAGE_SIZES = (32, 64)

# A corruption's number seeds its draws, so new names go to the end.
NUMBERS = {name: number for number, name in enumerate((*CORRUPTIONS, *EXTRA_CORRUPTIONS))}
# Worked on at once: few enough for the processor's cache, however many images there are.
PIXELS_AT_ONCE = 128 * 32 * 32


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int,
    *,
    seed: int = 0,
    indices: Sequence[int] | np.ndarray | None = None,
    frost: Frost | None = None,
) -> np.ndarray:
    """uint8 (N, S, S, 3), S being 32 or 64 -> a new array of the same shape, every image corrupted.

    Row i depends on images[i], name, severity, seed, indices[i] and frost alone, so the bytes are the same in any order
    and in blocks of any size. `indices` are the images' places in the data set, 0 to N - 1 where None. `frost` matters
    for the corruption of that name; None is the procedural texture.

    Raises UserError for a name, severity, seed, index, shape or type that has no corruption.
    """
    places = _checked(images, name, severity, seed, indices)
    row, size = TABLE[name], images.shape[1]
    function = row.function
    if name == "frost":
        function = partial(function, photographs=frost or load_frost(None, size))
    constants = row.constants[size][severity - 1]
    corrupted = np.empty(images.shape, np.uint8)
    block = PIXELS_AT_ONCE // (size * size)
    for start in range(0, len(images), block):
        rows = slice(start, start + block)
        # All four, always: seeds of different lengths are filled up with zeros and could coincide.
        rngs = [np.random.default_rng((seed, NUMBERS[name], severity, place)) for place in places[rows] if row.random]
        corrupted[rows] = function(np.ascontiguousarray(images[rows]), constants, rngs)
    return corrupted


def _checked(
    images: np.ndarray, name: str, severity: int, seed: int, indices: Sequence[int] | np.ndarray | None
) -> list[int]:
    if name not in TABLE:
        raise UserError(f"there is no corruption {name!r}; there are {', '.join(NUMBERS)}")
    if not isinstance(severity, int | np.integer) or severity not in SEVERITIES:
        raise UserError(f"there is no severity {severity!r}; there are {', '.join(map(str, SEVERITIES))}")
    sizes = " or ".join(map(str, IMAGE_SIZES))
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise UserError(f"the images are {kind}; corruptions take arrays of uint8")
    if images.ndim != 4 or images.shape[1] != images.shape[2] or images.shape[3] != 3:
        raise UserError(f"the images have shape {images.shape}; corruptions take (N, S, S, 3), S being {sizes}")
    if images.shape[1] not in IMAGE_SIZES:
        raise UserError(f"the images have {images.shape[1]} pixels a side; corruptions are defined for {sizes}")
    # Larger ones would be split in two, and one image could get the draws of another.
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UserError(f"the seed is {seed}; corruptions take 0 to 2^32 - 1")
    places = list(range(len(images))) if indices is None else np.asarray(indices).tolist()
    if len(places) != len(images):
        raise UserError(f"there are {len(places)} indices for {len(images)} images")
    if not all(isinstance(place, int) and 0 <= place < 2**32 for place in places):
        raise UserError("an index is no whole number from 0 to 2^32 - 1")
    return places
