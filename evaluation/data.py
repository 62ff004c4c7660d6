"""The images that an evaluation measures on."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from dataset import DatasetSpec, ImageSource, Subset, heldout_split, load_dataset
from dataset.batches import Loader
from dataset.corrupted_sets import CorruptedSet, GeneratedSet, open_corrupted_set
from dataset.corruptions import IMAGE_SIZES
from dataset.corruptions.frost import load_frost
from dataset.loaders import eval_loader
from helper.errors import UserError
from helper.processes import Processes, on_main_process


def read_split(args: argparse.Namespace, spec: DatasetSpec, processes: Processes, *, train: bool) -> ImageSource:
    """The training or test images. The main process fetches what is missing, before the others look."""
    found = {}

    def fetch() -> None:
        found["source"] = load_dataset(spec.name, args.data_root, train=train, download=not args.no_download)

    on_main_process(fetch)
    return found.get("source") or load_dataset(spec.name, args.data_root, train=train, download=not args.no_download)


def read_judged(args: argparse.Namespace, spec: DatasetSpec, processes: Processes) -> ImageSource:
    """What an evaluation measures on: the held-out part of the training images with --select_on heldout, or the test
    images.
    """
    heldout = args.select_on == "heldout"
    source = read_split(args, spec, processes, train=heldout)
    return Subset(source, heldout_split(source.labels)[1]) if heldout else source


def evaluation_loader(
    args: argparse.Namespace,
    spec: DatasetSpec,
    processes: Processes,
    source: ImageSource,
    indices: np.ndarray | None = None,
    whole_batches: bool = False,
    workers: int | None = None,
) -> Loader:
    """All images of `source`, or those at `indices`, shared by the processes, in order and without augmentation.

    `workers`: None for --num_workers.
    """
    return eval_loader(
        source,
        spec,
        batch_size=args.batch_size,
        indices=indices,
        limit=args.limit_val_batches,
        whole_batches=whole_batches,
        **sharing(args, processes, workers),
    )


def find_corrupted(
    args: argparse.Namespace, spec: DatasetSpec, test: ImageSource, corruptions: list[str]
) -> tuple[CorruptedSet | None, str]:
    """The corrupted twin of `test` that the options name, or None and the reason why there is none."""
    if not corruptions:
        return None, "not asked for"
    if args.generate and spec.image_size not in IMAGE_SIZES:
        raise UserError(
            f"--generate: corruptions are defined for {' and '.join(map(str, IMAGE_SIZES))} pixels, {spec.name} has "
            f"{spec.image_size}; unpack {spec.corrupted_folder} in {args.data_root}, and leave --generate out"
        )
    if args.generate:
        frost = load_frost(args.frost_dir, spec.image_size)
        return GeneratedSet(spec, test, args.severities, args.seed, frost), ""
    folder = Path(args.corruption_dir or Path(args.data_root, spec.corrupted_folder)).expanduser()
    if args.select_on == "heldout":
        return None, "corrupted test sets hold no held-out images; --generate corrupts those as they are read"
    found = open_corrupted_set(spec, folder, test, corruptions, args.severities)
    reason = f"no {folder}; make_corruptions.py writes it, --generate does without"
    if found is None and args.corruption_dir:
        raise UserError(f"corruptions: {reason}")
    return found, reason


def evenly_spaced(indices: np.ndarray, count: int | None) -> np.ndarray:
    """`count` of the indices, or all: None, or as many as there are. A data set may be sorted by class."""
    if count is None or count >= len(indices):
        return indices
    return indices[np.arange(count) * len(indices) // count]


def sharing(args: argparse.Namespace, processes: Processes, workers: int | None = None) -> dict:
    return {
        "rank": processes.rank,
        "world": processes.count,
        "workers": args.num_workers if workers is None else workers,
        "pin_memory": processes.device.type == "cuda",
    }
