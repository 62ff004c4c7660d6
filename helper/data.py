"""The images and loaders that the options name."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dataset import DatasetSpec, ImageSource, Subset, heldout_split, load_dataset
from dataset.batches import Loader, ShardedBatches, ShardedEval
from dataset.corrupted_sets import FOLDERS, CorruptedSet, GeneratedSet, open_corrupted_set
from dataset.corruptions import IMAGE_SIZES
from dataset.corruptions.frost import load_frost
from dataset.device_loader import DeviceEvalLoader, DeviceTrainLoader, ResidentImages
from dataset.views import eval_loader, train_loader
from helper.distributed import Processes, on_main_process
from helper.errors import UserError


@dataclass(frozen=True)
class Loaders:
    """`selection` is what --select_on names, `attacked_selection` what is attacked of it every epoch.

    `test` is the test set in every case.
    """

    train: Loader | DeviceTrainLoader
    selection: Loader | DeviceEvalLoader
    attacked_selection: Loader | DeviceEvalLoader
    test: Loader | DeviceEvalLoader


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
        **_sharing(args, processes, workers),
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
    if found is None and args.corruption_dir:
        raise UserError(f"corruptions: {reason}")
    return found, reason


def training_loaders(
    args: argparse.Namespace, spec: DatasetSpec, processes: Processes, views: tuple[str, ...]
) -> Loaders:
    """Training images less those that are held out for the selection, and what to evaluate on.

    Puts the choice that --data_on auto stands for in its place, for the run's record.
    """
    args.data_on = settle_data_on(args.data_on, spec, processes.device)
    training = read_split(args, spec, processes, train=True)
    testing = read_split(args, spec, processes, train=False)
    indices, heldout = np.arange(len(training)), None
    if args.select_on == "heldout":
        indices, heldout = heldout_split(training.labels)
    augment = "augmix" if "aug" in views else "none"
    if args.data_on == "device":
        return _device_loaders(args, spec, processes, training, testing, indices, heldout, augment)
    train = train_loader(
        training,
        indices,
        spec,
        seed=args.seed,
        batch_size=args.batch_size,
        augment=augment,
        limit=args.limit_train_batches,
        **_sharing(args, processes),
    )

    def evaluation(source: ImageSource, chosen: np.ndarray) -> Loader:
        return evaluation_loader(args, spec, processes, source, chosen)

    return with_evaluations(train, evaluation, training, testing, heldout, args.select_attack_images)


def with_evaluations(
    train: Loader | DeviceTrainLoader,
    evaluation: Callable[[ImageSource | ResidentImages, np.ndarray], Loader | DeviceEvalLoader],
    training: ImageSource | ResidentImages,
    testing: ImageSource | ResidentImages,
    heldout: np.ndarray | None,
    attacked: int | None,
) -> Loaders:
    """The loaders of a run: `evaluation(images, indices)` makes those beside `train`, and none twice.

    `heldout`: what of `training` to select on, None for `testing`. `attacked`: how many images of that to attack.
    """
    every = np.arange(len(testing.labels))
    test = evaluation(testing, every)
    judged, judging = (testing, every) if heldout is None else (training, heldout)
    selection = test if heldout is None else evaluation(judged, judging)
    chosen = evenly_spaced(judging, attacked)
    return Loaders(train, selection, selection if chosen is judging else evaluation(judged, chosen), test)


def evenly_spaced(indices: np.ndarray, count: int | None) -> np.ndarray:
    """`count` of the indices, or all: None, or as many as there are. A data set may be sorted by class."""
    if count is None or count >= len(indices):
        return indices
    return indices[np.arange(count) * len(indices) // count]


def settle_data_on(chosen: str, spec: DatasetSpec, device: torch.device) -> str:
    """'device' or 'workers'; raises UserError where the images are too large to be held on a device."""
    if chosen == "device" and spec.any_size:
        raise UserError(f"--data_on device: {spec.name} is too large to be held on a device; use --data_on workers")
    if chosen != "auto":
        return chosen
    return "device" if device.type == "cuda" and not spec.any_size else "workers"


def _device_loaders(
    args: argparse.Namespace,
    spec: DatasetSpec,
    processes: Processes,
    training: ImageSource,
    testing: ImageSource,
    indices: np.ndarray,
    heldout: np.ndarray | None,
    augment: str,
) -> Loaders:
    images, test_images = (ResidentImages(split, processes.device, args.num_workers) for split in (training, testing))
    shares = (processes.rank, processes.count)

    def evaluation(resident: ResidentImages, chosen: np.ndarray) -> DeviceEvalLoader:
        batches = ShardedEval(len(chosen), args.batch_size, *shares, args.limit_val_batches)
        return DeviceEvalLoader(resident, batches, chosen)

    batches = ShardedBatches(len(indices), args.batch_size, args.seed, *shares, args.limit_train_batches)
    train = DeviceTrainLoader(images, indices, batches, flip=spec.flip, augment=augment)
    return with_evaluations(train, evaluation, images, test_images, heldout, args.select_attack_images)


def _sharing(args: argparse.Namespace, processes: Processes, workers: int | None = None) -> dict:
    return {
        "rank": processes.rank,
        "world": processes.count,
        "workers": args.num_workers if workers is None else workers,
        "pin_memory": processes.device.type == "cuda",
    }
