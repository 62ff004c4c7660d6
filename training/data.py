"""The training loader, and what every epoch and the finished run are judged by."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from dataset import DatasetSpec, ImageSource, heldout_split
from dataset.batches import Loader, ShardedBatches, ShardedEval
from dataset.device_loader import DeviceEvalLoader, DeviceTrainLoader, ResidentImages
from dataset.loaders import train_loader
from evaluation.data import _sharing, evaluation_loader, evenly_spaced, read_split
from helper.errors import UserError
from helper.processes import Processes


@dataclass(frozen=True)
class Loaders:
    """`selection` is what --select_on names, `attacked_selection` what is attacked of it every epoch.

    `test` is the test set in every case.
    """

    train: Loader | DeviceTrainLoader
    selection: Loader | DeviceEvalLoader
    attacked_selection: Loader | DeviceEvalLoader
    test: Loader | DeviceEvalLoader


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
