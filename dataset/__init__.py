"""The registry of data sets. `load_dataset(name, root, ...)` gives any of them as labelled images.

To add a data set, write one file beside these with a `load_<name>(root, *, train, download) -> ImageSource`, give it a
row in NORMALISATION and one in DATASETS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dataset.cifar import load_cifar10, load_cifar100
from dataset.digits import load_digits
from dataset.heldout import heldout_split
from dataset.imagenet import load_imagenet
from dataset.source import ArraySource, FileSource, ImageSource, Subset
from dataset.tiny_imagenet import load_tiny_imagenet
from helper.errors import UserError

__all__ = [
    "DATASETS",
    "ArraySource",
    "DatasetSpec",
    "FileSource",
    "ImageSource",
    "Subset",
    "dataset_spec",
    "heldout_split",
    "load_dataset",
]

Channels = tuple[float, float, float]

# Mean and standard deviation per channel, for images in [0, 1]. The digits' are those of their training images.
NORMALISATION: dict[str, tuple[Channels, Channels]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "digits": ((0.3054, 0.3054, 0.3054), (0.3237, 0.3237, 0.3237)),
}


@dataclass(frozen=True)
class DatasetSpec:
    """A data set, known before it is read. Images are square, `image_size` pixels a side, when they reach a network.

    `flip`: a mirrored image is still one of its class. `any_size`: the files differ in size and are cut to fit.
    `load(root, *, train, download)` reads it.
    """

    name: str
    title: str
    num_classes: int
    image_size: int
    mean: Channels
    std: Channels
    load: Callable[..., ImageSource]
    flip: bool = True
    any_size: bool = False


DATASETS: dict[str, DatasetSpec] = {
    spec.name: spec
    for spec in (
        DatasetSpec("cifar10", "CIFAR10", 10, 32, *NORMALISATION["cifar10"], load_cifar10),
        DatasetSpec("cifar100", "CIFAR100", 100, 32, *NORMALISATION["cifar100"], load_cifar100),
        DatasetSpec("tiny_imagenet", "Tiny-ImageNet", 200, 64, *NORMALISATION["imagenet"], load_tiny_imagenet),
        DatasetSpec("imagenet", "ImageNet", 1000, 224, *NORMALISATION["imagenet"], load_imagenet, any_size=True),
        # No flip: a mirrored 2 is another character.
        DatasetSpec("digits", "Digits", 10, 32, *NORMALISATION["digits"], load_digits, flip=False),
    )
}


def dataset_spec(name: str) -> DatasetSpec:
    """Raises UserError for an unknown name."""
    if name not in DATASETS:
        raise UserError(f"unknown data set '{name}'; known are {', '.join(DATASETS)}")
    return DATASETS[name]


def load_dataset(name: str, root: str | Path, *, train: bool, download: bool) -> ImageSource:
    """The training images of a data set below `root`, or its test (where those have no labels, validation) images.

    With `download`, CIFAR is fetched where it is missing; of several processes only one should ask for that. Raises
    UserError for an unknown name, and for files that are missing or damaged.
    """
    return dataset_spec(name).load(Path(root).expanduser(), train=train, download=download)
