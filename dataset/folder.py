"""Images of one's own: `folder:PATH` is a data set of train/<class>/* and test/<class>/*, or val/.

Its size and normalisation are measured where a run begins, and kept in the checkpoint with the names of its classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from dataset.crops import resized_centre_crop
from dataset.source import FileSource, folder_source, folders, image_file
from dataset.spec import NETWORK_SIZES, Channels, DatasetSpec
from formats.checkpoint import KeptData
from helper.errors import UserError
from helper.files import real_path

PREFIX = "folder:"
SAMPLE = 1000  # images that mean, deviation and the size of images that differ in size are measured on
LEAST_STD = 0.01  # images of a single colour have none


def is_folder(name: str) -> bool:
    return name.startswith(PREFIX)


def short_name(name: str) -> str:
    """'folder:pets' of 'folder:/data/pets': what runs and results are called by; other names stay as they are."""
    return f"{PREFIX}{folder_path(name).name}" if is_folder(name) else name


def folder_path(name: str) -> Path:
    return real_path(Path(name.removeprefix(PREFIX)).expanduser())


def folder_spec(name: str, kept: KeptData | None = None) -> DatasetSpec:
    """The data set in the folder of that name, 'folder:PATH'. `kept`: what a checkpoint keeps of it; else measured.

    Raises UserError for a folder without images in class folders.
    """
    path = folder_path(name)
    kept = (kept or measure(path)).model_copy(update={"path": str(path)})
    return DatasetSpec(
        name=short_name(name),
        title=path.name,
        num_classes=len(kept.classes),
        image_size=kept.image_size,
        mean=kept.mean,
        std=kept.std,
        load=partial(load_folder, kept),
        corrupted_folder=f"{path.name}-C",
        corrupted_layout="files",
        any_size=kept.any_size,
        kept=kept,
    )


def same_images(one: KeptData | None, other: KeptData | None) -> bool:
    """Whether two of `kept` agree, wherever the folders lie."""
    return (one and one.model_copy(update={"path": ""})) == (other and other.model_copy(update={"path": ""}))


def load_folder(kept: KeptData, root: Path, *, train: bool, download: bool) -> FileSource:
    """`root` and `download` are not used. Raises UserError where there are no images, or of a class not in `kept`."""
    path = Path(kept.path)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}; where {path.name} lies now, say by --dataset {PREFIX}PATH")
    part = part_of(path, train=train)
    unknown = sorted({*folders(part)} - {*kept.classes})
    if unknown:
        raise UserError(f"class '{unknown[0]}' of {part} is none of the {len(kept.classes)} that the network knows")
    size = None if kept.any_size else kept.image_size
    source = folder_source([part / name for name in kept.classes], size)
    if not len(source):
        raise UserError(f"{part} holds no images in class folders")
    return source


def part_of(path: Path, *, train: bool) -> Path:
    if train:
        return path / "train"
    return path / "val" if not folders(path / "test") and folders(path / "val") else path / "test"


@cache
def measure(path: Path) -> KeptData:
    """What is to be known of the folder at `path`.

    Classes are those of train/, in sorted order; where that is missing, as for a client who asks only, the test's.
    """
    if not path.is_dir():
        raise UserError(f"{PREFIX}{path}: there is no such folder")
    parts = [part_of(path, train=train) for train in (True, False)]
    classes = folders(parts[0]) or folders(parts[1])
    if len(classes) < 2:
        raise UserError(f"{path}: {parts[0]} has {len(classes)} class folders; train/<class>/ needs two at least")
    found = [folder_source([part / name for name in classes]) for part in parts]
    source = next((source for source in found if len(source)), None)
    if source is None:
        raise UserError(f"{path} holds no images in the class folders of train/")
    size, any_size = fitting_size([path for source in found for path in source.paths])
    mean, std = channel_statistics(source, size if any_size else None)
    return KeptData(path=str(path), classes=tuple(classes), image_size=size, any_size=any_size, mean=mean, std=std)


def fitting_size(paths: Sequence[str]) -> tuple[int, bool]:
    """(pixels a side that a network gets, whether images must be cut to it).

    They need not where all are squares of a size that networks are built for. Else it is the largest such size below
    the median of their shorter sides.
    """
    first = size_of(paths[0])
    if first[0] == first[1] and first[0] in NETWORK_SIZES and all(size_of(path) == first for path in paths):
        return first[0], False
    median = int(np.median([min(size_of(path)) for path in evenly(paths)]))
    return max((size for size in NETWORK_SIZES if size <= median), default=min(NETWORK_SIZES)), True


def size_of(path: str) -> tuple[int, int]:
    """Width and height, from the head of a file."""
    with image_file(path) as stored:
        return stored.size


def channel_statistics(source: FileSource, size: int | None) -> tuple[Channels, Channels]:
    """(mean, standard deviation) by channel of the images in [0, 1], cut to `size`, to four digits."""
    sums, squares, count = np.zeros(3), np.zeros(3), 0
    for index in evenly(range(len(source))):
        image = source.image(index)
        pixels = np.asarray(resized_centre_crop(image, size) if size else image).reshape(-1, 3) / 255
        sums, squares, count = sums + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, LEAST_STD**2))
    return tuple(mean.round(4).tolist()), tuple(std.round(4).tolist())


def evenly(items: Sequence) -> list:
    """SAMPLE of the items at most, evenly spaced."""
    if len(items) <= SAMPLE:
        return list(items)
    return [items[number * len(items) // SAMPLE] for number in range(SAMPLE)]
