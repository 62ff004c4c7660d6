"""Images a second of random crop, flip and AugMix at CIFAR's size: one by one in workers, and whole batches at once.

    python -m benchmarks.bench_data
    python -m benchmarks.bench_data --device cuda --batch_size 512 --out bench_data.json

    torchvision   RandomCrop, RandomHorizontalFlip and torchvision.transforms.AugMix, per image, in --workers processes
    workers       ours per image (dataset/augmix.py, what --data_on workers does), in as many processes
    device        ours in batch (dataset/batch_augmix.py, what --data_on device does), in this process, with
                  --threads threads

Each makes one augmented view of every image, as float32 batches on --device. The contestants take turns, so that a
machine that slows down slows all of them; an untimed turn comes first, and starts the workers. Figures are medians over
--repeats, ratios those of the medians.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.frame import add_timing_options, describe_machine, write_figures
from benchmarks.turns import medians, speed_ratios, take_turns
from dataset.augmix import augmix
from dataset.batch_augmix import NUMBERS, draw, mix
from dataset.crops import padded_crop, random_flip
from dataset.device_loader import PLACING, placed
from dataset.loaders import to_tensor
from helper import command_line
from helper.hash_random import uniform
from helper.processes import start_processes

SIZE = 32


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--images", type=command_line.positive, default=2048, help="a turn (default: 2048)")
    parser.add_argument("--batch_size", type=command_line.positive, default=128, help="default: 128")
    parser.add_argument("--workers", type=command_line.thread_count, default=2, help="of the first two (default: 2)")
    add_timing_options(
        parser,
        threads="of the third, on a CPU. More than one pay only on idle cores: where other work competes, threads that "
        "wait for each other cost more than they bring",
    )
    return parser.parse_args(argv)


class PerImage(Dataset):
    """Image `index` of `images`, uint8 (N, S, S, 3), by `view(image, index)`."""

    def __init__(self, images: np.ndarray, view: Callable[[Image.Image, int], Tensor]):
        self.images, self.view = images, view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.view(Image.fromarray(self.images[index]), index)


class Torchvisions:
    def __init__(self):
        steps = [transforms.RandomCrop(SIZE, SIZE // 8), transforms.RandomHorizontalFlip(), transforms.AugMix()]
        self.transform = transforms.Compose([*steps, transforms.ToTensor()])

    def __call__(self, image: Image.Image, index: int) -> Tensor:
        return self.transform(image)


def ours_per_image(image: Image.Image, index: int) -> Tensor:
    rng = np.random.default_rng((0, 0, index))
    return to_tensor(augmix(random_flip(padded_crop(image, SIZE, rng), rng), rng))


class OursInBatch:
    """Batches of augmented views of `images`, uint8 (N, 3, S, S) on a device."""

    def __init__(self, images: Tensor, batch_size: int):
        self.images, self.batch_size = images, batch_size

    def __iter__(self) -> Iterator[Tensor]:
        for indices in torch.arange(len(self.images)).split(self.batch_size):
            numbers = uniform(indices, PLACING + NUMBERS, 0)
            chosen = self.images[indices.to(self.images.device, non_blocking=True)]
            yield mix(placed(chosen, numbers, flip=True), draw(numbers[:, PLACING:]))


def fetch(batches: Iterable[Tensor], device: torch.device) -> None:
    for batch in batches:
        batch.to(device, non_blocking=True)


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    device = start_processes(args.device).device
    # Noise: what is in an image changes no operation's time.
    pixels = np.random.default_rng(0).integers(0, 256, (args.images, SIZE, SIZE, 3), dtype=np.uint8)

    def in_workers(view: Callable[[Image.Image, int], Tensor]) -> DataLoader:
        return DataLoader(
            PerImage(pixels, view),
            args.batch_size,
            num_workers=args.workers,
            persistent_workers=True,
            pin_memory=device.type == "cuda",
        )

    resident = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().to(device)
    contestants: dict[str, Iterable[Tensor]] = {
        "torchvision": in_workers(Torchvisions()),
        "workers": in_workers(ours_per_image),
        "device": OursInBatch(resident, args.batch_size),
    }
    machine = describe_machine(device)
    calls = {name: partial(fetch, batches, device) for name, batches in contestants.items()}
    seconds = take_turns(calls, args.repeats, device)
    typical = medians(seconds)
    speeds = {name: args.images / time for name, time in typical.items()}
    ratios = speed_ratios(typical, "torchvision")
    print(f"{args.images} images of {SIZE}x{SIZE}, batches of {args.batch_size}, medians of {args.repeats}")
    print(f"{'':12} {'images/s':>10} {'slowest':>10} {'fastest':>10} {'ratio':>7}")
    for name, times in seconds.items():
        slowest, fastest = args.images / max(times), args.images / min(times)
        print(f"{name:12} {speeds[name]:10,.0f} {slowest:10,.0f} {fastest:10,.0f} {ratios[name]:7.2f}")
    write_figures(vars(args), machine, {"seconds": seconds, "images_per_second": speeds, "times_torchvision": ratios})


if __name__ == "__main__":
    run_script(main, parse_args)
