"""What is known of a data set before it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from dataset.source import ImageSource
from formats.checkpoint import KeptData

Channels = tuple[float, ...]  # three of them
NETWORK_SIZES = (32, 64, 224)  # pixels a side that networks are built for
IMAGENET_MEAN_STD: tuple[Channels, Channels] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class DatasetSpec:
    """A data set. Images are square, `image_size` pixels a side, when they reach a network.

    `mean`, `std`: per channel, of images in [0, 1]. `load(root, *, train, download)` reads the training images, or the
    test images (where those have no labels, validation images). `flip`: a mirrored image is still one of its class.
    `any_size`: the files differ in size and are cut to fit.
    `corrupted_folder`: what its corrupted twin is called, below the root; `corrupted_layout`: arrays, or image files
    (dataset/corrupted_sets.py). `kept`: what a checkpoint keeps of it, where its name does not say all.
    """

    name: str
    title: str
    num_classes: int
    image_size: int
    mean: Channels
    std: Channels
    load: Callable[..., ImageSource]
    corrupted_folder: str
    corrupted_layout: Literal["arrays", "files"] = "arrays"
    flip: bool = True
    any_size: bool = False
    kept: KeptData | None = None
