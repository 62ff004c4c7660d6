"""The images that an evaluation measures on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dataset import DatasetSpec, ImageSource, Subset, heldout_split, load_dataset
from dataset.batches import Loader, ShardedEval
from dataset.corrupted_sets import CorruptedSet, GeneratedSet, open_corrupted_set
from dataset.corruptions import IMAGE_SIZES
from dataset.corruptions.frost import load_frost
from dataset.loaders import eval_loader
from dataset.options import DataSettings
from helper.errors import UserError
from helper.processes import Processes, on_main_process


@dataclass(frozen=True)
class Corruptions:
    """Which corruptions, at which severities, and where their images come from.

    `generate`: corrupted as they are read, with `frost_dir`'s photographs; otherwise from `folder`, or, where that is
    None, from the data set's usual one. `verify`: refuse files other than those that were written there.
    """

    names: tuple[str, ...]
    severities: tuple[int, ...]
    generate: bool = False
    frost_dir: Path | None = None
    folder: Path | None = None
    verify: bool = True


def read_split(images: DataSettings, spec: DatasetSpec, processes: Processes, *, train: bool) -> ImageSource:
    """The training or test images. The main process fetches what is missing, before the others look."""
    load = partial(load_dataset, spec, images.data_root, train=train, download=not images.no_download)
    found = []
    on_main_process(lambda: found.append(load()))
    return found[0] if found else load()


def read_judged(images: DataSettings, spec: DatasetSpec, processes: Processes) -> ImageSource:
    """What an evaluation measures on: the held-out part of the training images with --select_on heldout, or the test
    images.
    """
    heldout = images.select_on == "heldout"
    source = read_split(images, spec, processes, train=heldout)
    return Subset(source, heldout_split(source.labels)[1]) if heldout else source


def evaluation_loader(
    images: DataSettings,
    spec: DatasetSpec,
    processes: Processes,
    source: ImageSource,
    indices: np.ndarray | None = None,
    whole_batches: bool = False,
    workers: int | None = None,
) -> Loader[ShardedEval]:
    """All images of `source`, or those at `indices`, shared by the processes, in order and without augmentation.

    `workers`: None for --num_workers.
    """
    return eval_loader(
        source,
        spec,
        batch_size=images.batch_size,
        indices=indices,
        limit=images.limit_val_batches,
        whole_batches=whole_batches,
        **sharing(images, processes, workers),
    )


def find_corrupted(
    corruptions: Corruptions, images: DataSettings, spec: DatasetSpec, test: ImageSource, seed: int
) -> tuple[CorruptedSet | None, str]:
    """The corrupted twin of `test`, or None and the reason why there is none. `seed`: of corruptions made here."""
    severities = list(corruptions.severities)
    if not corruptions.names:
        return None, "not asked for"
    if corruptions.generate and spec.image_size not in IMAGE_SIZES:
        raise UserError(
            f"--generate: corruptions are defined for {' and '.join(map(str, IMAGE_SIZES))} pixels, {spec.name} has "
            f"{spec.image_size}; unpack {spec.corrupted_folder} in {images.data_root}, and leave --generate out"
        )
    if corruptions.generate:
        frost = load_frost(corruptions.frost_dir, spec.image_size)
        return GeneratedSet(spec, test, severities, seed, frost), ""
    folder = (corruptions.folder or Path(images.data_root, spec.corrupted_folder)).expanduser()
    if images.select_on == "heldout":
        return None, "corrupted test sets hold no held-out images; --generate corrupts those as they are read"
    found = open_corrupted_set(spec, folder, test, list(corruptions.names), severities)
    reason = f"no {folder}; make_corruptions.py writes it, --generate does without"
    if found is None and corruptions.folder:
        raise UserError(f"corruptions: {reason}")
    return found, reason


class SpacedSet(CorruptedSet):
    """`count` evenly spaced images of every cell of another set."""

    def __init__(self, corrupted: CorruptedSet, count: int):
        super().__init__(corrupted.provenance, corrupted.severities)
        self.corrupted, self.count, self.in_memory = corrupted, count, corrupted.in_memory

    def source(self, corruption: str, severity: int) -> ImageSource:
        return spaced(self.corrupted.source(corruption, severity), self.count)

    def identity(self, corruption: str, severity: int) -> str:
        return self.corrupted.identity(corruption, severity)


def spaced(source: ImageSource, count: int | None) -> ImageSource:
    """`count` evenly spaced images of the source; all of them for None."""
    return source if count is None else Subset(source, evenly_spaced(np.arange(len(source)), count))


def evenly_spaced(indices: np.ndarray, count: int | None) -> np.ndarray:
    """`count` of the indices, or all: None, or as many as there are. A data set may be sorted by class."""
    if count is None or count >= len(indices):
        return indices
    return indices[np.arange(count) * len(indices) // count]


def sharing(images: DataSettings, processes: Processes, workers: int | None = None) -> dict:
    return {
        "rank": processes.rank,
        "world": processes.count,
        "workers": images.num_workers if workers is None else workers,
        "pin_memory": processes.device.type == "cuda",
    }
