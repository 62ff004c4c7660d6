"""The images and loaders that the options name."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset import DatasetSpec, ImageSource, heldout_split, load_dataset
from dataset.batches import Loader
from dataset.corrupted_sets import FOLDERS, CorruptedSet, GeneratedSet, open_corrupted_set
from dataset.corruptions import IMAGE_SIZES
from dataset.corruptions.frost import load_frost
from dataset.views import eval_loader, train_loader
from helper.distributed import Processes, on_main_process
from helper.errors import UserError


@dataclass(frozen=True)
class Loaders:
    """`selection` is what --select_on names; `test` is the test set in every case."""

    train: Loader
    selection: Loader
    test: Loader


def read_split(args: argparse.Namespace, spec: DatasetSpec, processes: Processes, *, train: bool) -> ImageSource:
    """The training or test images. The main process fetches what is missing, before the others look."""
    found = {}

    def fetch() -> None:
        found["source"] = load_dataset(spec.name, args.data_root, train=train, download=not args.no_download)

    on_main_process(fetch)
    return found.get("source") or load_dataset(spec.name, args.data_root, train=train, download=not args.no_download)


def evaluation_loader(
    args: argparse.Namespace,
    spec: DatasetSpec,
    processes: Processes,
    source: ImageSource,
    indices: np.ndarray | None = None,
    whole_batches: bool = False,
) -> Loader:
    """All images of `source`, or those at `indices`, shared by the processes, in order and without augmentation."""
    return eval_loader(
        source,
        spec,
        batch_size=args.batch_size,
        indices=indices,
        limit=args.limit_val_batches,
        whole_batches=whole_batches,
        **_sharing(args, processes),
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
            f"{spec.image_size}; unpack {FOLDERS[spec.name]} in {args.data_root}, and leave --generate out"
        )
    if args.generate:
        frost = load_frost(args.frost_dir, spec.image_size)
        return GeneratedSet(spec.name, test, args.severities, args.seed, frost), ""
    folder = Path(args.corruption_dir or Path(args.data_root, FOLDERS[spec.name])).expanduser()
    if args.select_on == "heldout":
        return None, "corrupted test sets hold no held-out images; --generate corrupts those as they are read"
    found = open_corrupted_set(spec.name, folder, test, spec.image_size, corruptions, args.severities)
    reason = f"no {folder}; make_corruptions.py writes it, --generate does without"
    if found is None and (args.corruption_dir or args.baseline):
        raise UserError(f"corruptions: {reason}")
    return found, reason


def training_loaders(
    args: argparse.Namespace, spec: DatasetSpec, processes: Processes, views: tuple[str, ...]
) -> Loaders:
    """Training images less those that are held out for the selection, and what to evaluate on."""
    training = read_split(args, spec, processes, train=True)
    test = evaluation_loader(args, spec, processes, read_split(args, spec, processes, train=False))
    indices, selection = np.arange(len(training)), test
    if args.select_on == "heldout":
        indices, heldout = heldout_split(training.labels)
        selection = evaluation_loader(args, spec, processes, training, heldout)
    train = train_loader(
        training,
        indices,
        spec,
        seed=args.seed,
        batch_size=args.batch_size,
        augment="augmix" if "aug" in views else "none",
        limit=args.limit_train_batches,
        **_sharing(args, processes),
    )
    return Loaders(train, selection, test)


def _sharing(args: argparse.Namespace, processes: Processes) -> dict:
    return {
        "rank": processes.rank,
        "world": processes.count,
        "workers": args.num_workers,
        "pin_memory": processes.device.type == "cuda",
    }
