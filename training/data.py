"""The training loader, and what every epoch and the finished run are judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from dataset import DatasetSpec, ImageSource, heldout_split
from dataset.batches import Loader, ShardedBatches, ShardedEval
from dataset.device_loader import DeviceEvalLoader, DeviceTrainLoader, ResidentImages
from dataset.loaders import train_loader
from dataset.options import DataSettings
from evaluation.data import evaluation_loader, evenly_spaced, read_split, sharing
from helper.errors import UserError
from helper.processes import Processes

TrainLoader = Loader[ShardedBatches] | DeviceTrainLoader
EvalLoader = Loader[ShardedEval] | DeviceEvalLoader
Images = TypeVar("Images", ImageSource, ResidentImages)


@dataclass(frozen=True)
class Loaders:
    """`selection` is what --select_on names, `attacked_selection` what is attacked of it every epoch.

    `test` is the test set in every case.
    """

    train: TrainLoader
    selection: EvalLoader
    attacked_selection: EvalLoader
    test: EvalLoader


def training_loaders(
    spec: DatasetSpec,
    images: DataSettings,
    processes: Processes,
    views: Sequence[str],
    *,
    seed: int,
    attacked: int | None = None,
) -> Loaders:
    """The training images less those that are held out for the selection, and what to evaluate on.

    `seed`: of their order and augmentation. `attacked`: how many of the images that judge an epoch are attacked, None
    for all.
    """
    training = read_split(images, spec, processes, train=True)
    testing = read_split(images, spec, processes, train=False)
    indices, heldout = np.arange(len(training)), None
    if images.select_on == "heldout":
        indices, heldout = heldout_split(training.labels)
    augment = "augmix" if "aug" in views else "none"
    if images.data_on == "device":
        held, tested = (ResidentImages(part, processes.device, images.num_workers) for part in (training, testing))
        batches = ShardedBatches(
            len(indices), images.batch_size, seed, processes.rank, processes.count, images.limit_train_batches
        )
        on_device = DeviceTrainLoader(held, indices, batches, flip=spec.flip, augment=augment)
        in_order = partial(device_evaluation, images, processes)
        return with_evaluations(on_device, in_order, held, tested, heldout, attacked, images.limit_images)
    train = train_loader(
        training,
        indices,
        spec,
        seed=seed,
        batch_size=images.batch_size,
        augment=augment,
        limit=images.limit_train_batches,
        **sharing(images, processes),
    )
    evaluation = partial(evaluation_loader, images, spec, processes)
    return with_evaluations(train, evaluation, training, testing, heldout, attacked, images.limit_images)


def device_evaluation(
    images: DataSettings, processes: Processes, resident: ResidentImages, chosen: np.ndarray
) -> DeviceEvalLoader:
    batches = ShardedEval(len(chosen), images.batch_size, processes.rank, processes.count, images.limit_val_batches)
    return DeviceEvalLoader(resident, batches, chosen)


def with_evaluations(
    train: TrainLoader,
    evaluation: Callable[[Images, np.ndarray], EvalLoader],
    training: Images,
    testing: Images,
    heldout: np.ndarray | None,
    attacked: int | None,
    limit: int | None = None,
) -> Loaders:
    """The loaders of a run: `evaluation(images, indices)` makes those beside `train`, and none twice.

    `heldout`: what of `training` to select on, None for `testing`. `attacked`: how many images of that to attack.
    `limit`: how many to evaluate on at all.
    """
    every = evenly_spaced(np.arange(len(testing.labels)), limit)
    test = evaluation(testing, every)
    judged, judging = (testing, every) if heldout is None else (training, evenly_spaced(heldout, limit))
    selection = test if heldout is None else evaluation(judged, judging)
    chosen = evenly_spaced(judging, attacked)
    return Loaders(train, selection, selection if chosen is judging else evaluation(judged, chosen), test)


def choose_data_on(chosen: str, spec: DatasetSpec, device: torch.device) -> str:
    """'device' or 'workers'; raises UserError where the images are too large to be held on a device."""
    if chosen == "device" and spec.any_size:
        raise UserError(f"--data_on device: {spec.name} is too large to be held on a device; use --data_on workers")
    if chosen != "auto":
        return chosen
    return "device" if device.type == "cuda" and not spec.any_size else "workers"
