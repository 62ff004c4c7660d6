"""The views of an image that a network is trained on, `clean` and `aug`, and the loaders that deliver them.

All that is random about a sample comes from (seed, epoch, index of the image, view). It does not depend on workers, on
the number of processes, or on whether the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from dataset import DatasetSpec, ImageSource
from dataset.augmix import augmix
from dataset.batches import Loader, ShardedBatches, ShardedEval
from dataset.crops import padded_crop, random_flip, random_resized_crop, resized_centre_crop
from helper.errors import UserError

__all__ = ["EvalViews", "Loader", "ShardedBatches", "ShardedEval", "TrainViews", "eval_loader", "train_loader"]

AUGMENTATIONS = ("none", "augmix")
# Not 0: numpy pads a short seed with zeros, and (seed, epoch) is the one that orders the batches.
CLEAN, AUG = 1, 2


class Sample(TypedDict):
    """Of one image: views float32 (3, S, S) in [0, 1], its label, and its place in the source."""

    clean: Tensor
    aug: NotRequired[Tensor]
    label: int
    index: int


class TrainViews(Dataset):
    """(epoch, position in `indices`) -> sample

    `clean` has a random crop, and a flip where the data set allows it; `aug` another crop and flip, then AugMix, only
    with `augment` 'augmix'.

    Without `crop_flip` the clean view is the plain image, for tests and exact comparisons.
    """

    def __init__(
        self,
        source: ImageSource,
        indices: Sequence[int] | np.ndarray,
        spec: DatasetSpec,
        seed: int,
        augment: str = "none",
        crop_flip: bool = True,
    ):
        if augment not in AUGMENTATIONS:
            raise UserError(f"unknown augmentation '{augment}'; known are {', '.join(AUGMENTATIONS)}")
        self.source = source
        self.indices = np.asarray(indices, dtype=np.int64)
        self.spec = spec
        self.seed = seed
        self.augment = augment
        self.crop_flip = crop_flip

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, position = key
        index = int(self.indices[position])
        image = self.source.image(index)
        sample: Sample = {
            "clean": to_tensor(np.asarray(self.cut(image, self.generator(epoch, index, CLEAN)))),
            "label": int(self.source.labels[index]),
            "index": index,
        }
        if self.augment == "augmix":
            rng = self.generator(epoch, index, AUG)
            sample["aug"] = to_tensor(augmix(self.cut(image, rng), rng))
        return sample

    def generator(self, epoch: int, index: int, view: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch, index, view))

    def cut(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        if not self.crop_flip:
            return plain(image, self.spec)
        crop = random_resized_crop if self.spec.any_size else padded_crop
        image = crop(image, self.spec.image_size, rng)
        return random_flip(image, rng) if self.spec.flip else image


class EvalViews(Dataset):
    """Position in `indices` (None: all of `source`) -> sample without `aug`; no chance."""

    def __init__(self, source: ImageSource, spec: DatasetSpec, indices: Sequence[int] | np.ndarray | None = None):
        self.source = source
        self.spec = spec
        self.indices = np.arange(len(source)) if indices is None else np.asarray(indices, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Sample:
        return self.__getitems__([position])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Sample]:
        """A whole batch, which is what a DataLoader asks for where it may."""
        indices = self.indices[list(positions)].tolist()
        return [
            {
                "clean": to_tensor(np.asarray(plain(image, self.spec))),
                "label": int(self.source.labels[index]),
                "index": index,
            }
            for index, image in zip(indices, self.source.batch(indices), strict=True)
        ]


def plain(image: Image.Image, spec: DatasetSpec) -> Image.Image:
    return resized_centre_crop(image, spec.image_size) if spec.any_size else image


def to_tensor(pixels: np.ndarray) -> Tensor:
    """uint8 or float32 (H, W, 3) -> float32 (3, H, W) in [0, 1]."""
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return planes if planes.is_floating_point() else planes.float().div_(255)


def train_loader(
    source: ImageSource,
    indices: Sequence[int] | np.ndarray,
    spec: DatasetSpec,
    *,
    seed: int,
    batch_size: int,
    augment: str = "none",
    crop_flip: bool = True,
    rank: int = 0,
    world: int = 1,
    limit: int | None = None,
    workers: int = 0,
    pin_memory: bool = False,
) -> Loader[ShardedBatches]:
    """Batches of TrainViews: dict of stacked tensors, label and index int64 (B,).

    Call `loader.batch_sampler.set_epoch(epoch, first_batch)` before each epoch. `batch_size` is the global one.
    """
    views = TrainViews(source, indices, spec, seed, augment, crop_flip)
    return Loader(views, ShardedBatches(len(views), batch_size, seed, rank, world, limit), workers, pin_memory)


def eval_loader(
    source: ImageSource,
    spec: DatasetSpec,
    *,
    batch_size: int,
    indices: Sequence[int] | np.ndarray | None = None,
    rank: int = 0,
    world: int = 1,
    limit: int | None = None,
    whole_batches: bool = False,
    workers: int = 0,
    pin_memory: bool = False,
) -> Loader[ShardedEval]:
    """Batches of EvalViews: dict of stacked tensors, label and index int64 (B,)."""
    views = EvalViews(source, spec, indices)
    batches = ShardedEval(len(views), batch_size, rank, world, limit, whole_batches)
    return Loader(views, batches, workers, pin_memory)
