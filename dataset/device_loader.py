"""Data sets of small images held on the device, where whole batches are cropped, flipped and mixed: no workers.

The batches hold the images that those of dataset/loaders.py hold, in the same order and with the same rows for each
process. Crops, flips and AugMix follow the same distribution by other draws, which come from (seed, epoch, index of the
image, view) alone here too, so that a batch does not depend on the device, on the number of processes, or on whether
the run was interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from dataset.batch_augmix import NUMBERS, draw, mix
from dataset.batches import ShardedBatches, ShardedEval
from dataset.source import ArraySource, ImageSource
from helper.hash_random import uniform

# The last part of the key of all draws here. Not a small number, which would be an attack's restart.
CLEAN, AUG = 0xC1EA0, 0xA0600
# Numbers of an image and view that place its crop and decide on its flip; AugMix takes those after them.
PLACING = 3


class ResidentImages:
    """The images of `source` on `device`: `images` uint8 (N, 3, S, S), and `labels` int64 (N,)."""

    def __init__(self, source: ImageSource, device: torch.device, threads: int = 0):
        if isinstance(source, ArraySource):
            pixels = source.images
        else:  # Pillow decodes files outside Python's lock
            with ThreadPoolExecutor(max(threads, 1)) as pool:
                pixels = np.stack(list(pool.map(lambda index: np.asarray(source.image(index)), range(len(source)))))
        self.images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)
        self.labels = torch.from_numpy(source.labels).to(device)

    def take(self, indices: Tensor) -> dict[str, Tensor]:
        """{'clean': uint8 (B, 3, S, S), 'label', 'index'} on the device; `indices` int64 (B,) on the CPU."""
        indices = indices.to(self.images.device, non_blocking=True)
        return {"clean": self.images[indices], "label": self.labels[indices], "index": indices}


class DeviceTrainLoader:
    """Batches as `dataset.loaders.train_loader` gives them, made on the device.

    `batch_sampler` says which, and has a `set_epoch(epoch, first_batch)`. `indices` are those of the source's images
    that are trained on; `flip` says whether a mirrored image is still one of its class.
    """

    def __init__(
        self,
        resident: ResidentImages,
        indices: Sequence[int] | np.ndarray,
        batch_sampler: ShardedBatches,
        *,
        flip: bool,
        augment: str = "none",
    ):
        self.resident = resident
        self.indices = torch.as_tensor(np.asarray(indices, dtype=np.int64))
        self.batch_sampler = batch_sampler
        self.flip = flip
        self.augment = augment

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for keys in self.batch_sampler:
            epoch = keys[0][0]
            indices = self.indices[[position for _, position in keys]]
            batch = self.resident.take(indices)
            images = batch["clean"]
            seed = self.batch_sampler.seed
            batch["clean"] = to_unit(placed(images, uniform(indices, PLACING, seed, epoch, CLEAN), flip=self.flip))
            if self.augment == "augmix":
                numbers = uniform(indices, PLACING + NUMBERS, seed, epoch, AUG)
                batch["aug"] = mix(placed(images, numbers, flip=self.flip), draw(numbers[:, PLACING:]))
            yield batch


class DeviceEvalLoader:
    """Batches as `dataset.loaders.eval_loader` gives them, float for float, from images on the device."""

    def __init__(
        self, resident: ResidentImages, batch_sampler: ShardedEval, indices: Sequence[int] | np.ndarray | None = None
    ):
        self.resident = resident
        count = len(resident.labels)
        self.indices = torch.as_tensor(np.arange(count) if indices is None else np.asarray(indices, dtype=np.int64))
        self.batch_sampler = batch_sampler

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for positions in self.batch_sampler:
            batch = self.resident.take(self.indices[positions])
            yield {**batch, "clean": to_unit(batch["clean"])}


def placed(images: Tensor, numbers: Tensor, *, flip: bool) -> Tensor:
    """A padded crop of images (B, C, S, S), and a flip where allowed, by the first PLACING `numbers` of each.

    `numbers` (B, PLACING or more), uniform in (0, 1), lie on the CPU.
    """
    flips = numbers[:, 2] < 0.5 if flip else None
    return padded_crops(images, (numbers[:, :2] * (2 * padding(images) + 1)).long(), flips)


def padding(images: Tensor) -> int:
    """As dataset.crops.padded_crop has it: 4 pixels at 32."""
    return images.shape[-1] // 8


def padded_crops(images: Tensor, offsets: Tensor, flips: Tensor | None = None) -> Tensor:
    """Pad images (B, C, S, S) by black, cut the square at each image's `offsets` (B, 2) of y and x, mirror some.

    `offsets` int64 in [0, 2 * padding] and `flips` bool (B,), None for no flips, may lie on the CPU.
    """
    count, channels, size, _ = images.shape
    pad = padding(images)
    offsets = offsets.to(images.device, non_blocking=True)
    steps = torch.arange(size, device=images.device)
    rows, columns = (offsets[:, axis, None] + steps for axis in (0, 1))
    if flips is not None:
        flips = flips.to(images.device, non_blocking=True)
        columns = torch.where(flips[:, None], columns.flip(1), columns)
    places = rows[:, :, None] * (size + 2 * pad) + columns[:, None]
    padded = F.pad(images, (pad, pad, pad, pad)).flatten(2)
    return padded.gather(2, places.view(count, 1, -1).expand(-1, channels, -1)).view_as(images)


def to_unit(images: Tensor) -> Tensor:
    """uint8 -> float32 in [0, 1]. By a tensor, because a GPU divides by a number as it multiplies by its reciprocal."""
    return images.float().div_(torch.full((), 255.0, device=images.device))
