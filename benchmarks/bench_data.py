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

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from dataset.augmix import augmix
from dataset.batch_augmix import NUMBERS, draw, mix
from dataset.crops import padded_crop, random_flip
from dataset.device_loader import PLACING, placed
from dataset.views import to_tensor
from helper import options
from helper.distributed import start_processes
from helper.hash_random import uniform
from helper.run import processor_name, versions, write_json
from helper.script import run_script

SIZE = 32


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.Parser(__doc__)
    parser.add_argument("--images", type=options.positive, default=2048, help="a turn (default: 2048)")
    parser.add_argument("--batch_size", type=options.positive, default=128, help="default: 128")
    parser.add_argument("--workers", type=options.positive, default=2, help="of the first two (default: 2)")
    parser.add_argument(
        "--threads",
        type=options.positive,
        default=1,
        help="of the third, on a CPU. More than one pay only on idle cores: where other work competes, threads "
        "that wait for each other cost more than they bring (default: 1)",
    )
    parser.add_argument("--repeats", type=options.positive, default=5, help="timed turns of each (default: 5)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu", help="default: cpu")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON too")
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

    def __iter__(self) -> Iterable[Tensor]:
        for indices in torch.arange(len(self.images)).split(self.batch_size):
            numbers = uniform(indices, PLACING + NUMBERS, 0)
            chosen = self.images[indices.to(self.images.device, non_blocking=True)]
            yield mix(placed(chosen, numbers, flip=True), draw(numbers[:, PLACING:]))


def turn(batches: Iterable[Tensor], device: torch.device) -> float:
    """Seconds until the last batch is on the device."""
    started = perf_counter()
    for batch in batches:
        batch.to(device, non_blocking=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter() - started


def describe_machine(device: torch.device) -> dict:
    return {
        "cpu": processor_name(),
        "cores": options.available_cores(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        **versions(),
    }


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
    contestants = {
        "torchvision": in_workers(Torchvisions()),
        "workers": in_workers(ours_per_image),
        "device": OursInBatch(resident, args.batch_size),
    }
    seconds = {name: [] for name in contestants}
    for repeat in range(args.repeats + 1):
        for name, batches in contestants.items():
            taken = turn(batches, device)
            if repeat:
                seconds[name].append(taken)

    machine = describe_machine(device)
    speeds = {name: args.images / median(times) for name, times in seconds.items()}
    print(", ".join(f"{key}: {value}" for key, value in machine.items()))
    print(f"{args.images} images of {SIZE}x{SIZE}, batches of {args.batch_size}, medians of {args.repeats}")
    print(f"{'':12} {'images/s':>10} {'slowest':>10} {'fastest':>10} {'ratio':>7}")
    for name, times in seconds.items():
        slowest, fastest = args.images / max(times), args.images / min(times)
        ratio = speeds[name] / speeds["torchvision"]
        print(f"{name:12} {speeds[name]:10,.0f} {slowest:10,.0f} {fastest:10,.0f} {ratio:7.2f}")
    if args.out:
        settings = {key: value for key, value in vars(args).items() if key != "out"}
        results = {"machine": machine, "settings": settings, "seconds": seconds, "images_per_second": speeds}
        ratios = {name: speed / speeds["torchvision"] for name, speed in speeds.items()}
        write_json(args.out, {**results, "times_torchvision": ratios})
        print(f"written to {args.out}")


if __name__ == "__main__":
    run_script(main, parse_args)
