"""The registry of data sets. `load_dataset(name, root, ...)` gives any of them as labelled images.

To add a data set, write one file in dataset/sets/ that holds its DatasetSpec; images of one's own are `folder:PATH`
(dataset/folder.py). Nothing here needs torch.
"""

from __future__ import annotations

from pathlib import Path

from dataset.folder import PREFIX, folder_spec, is_folder
from dataset.heldout import heldout_split
from dataset.source import ArraySource, FileSource, ImageSource, Subset
from dataset.spec import DatasetSpec
from formats.checkpoint import KeptData
from helper.errors import UserError
from helper.registry import discover

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

DATASETS: dict[str, DatasetSpec] = discover("dataset.sets", DatasetSpec)


def dataset_spec(name: str, kept: KeptData | None = None) -> DatasetSpec:
    """The data set of that name, or in the folder of 'folder:PATH', of which a checkpoint may have `kept` its spec's.

    Raises UserError for an unknown name, and for a folder without images in class folders.
    """
    if is_folder(name):
        return folder_spec(name, kept)
    if name not in DATASETS:
        raise UserError(f"unknown data set '{name}'; known are {', '.join(DATASETS)}, and {PREFIX}PATH")
    return DATASETS[name]


def load_dataset(data: str | DatasetSpec, root: str | Path, *, train: bool, download: bool) -> ImageSource:
    """The training images of a data set below `root`, or its test (where those have no labels, validation) images.

    With `download`, CIFAR is fetched where it is missing; of several processes only one should ask for that. Raises
    UserError for an unknown name, and for files that are missing or damaged.
    """
    spec = dataset_spec(data) if isinstance(data, str) else data
    return spec.load(Path(root).expanduser(), train=train, download=download)
