"""Images a second of what an evaluation is made of, on random images of CIFAR's size.

    python -m benchmarks.bench_eval
    python -m benchmarks.bench_eval --model CustomResNet18 --kept 0.15 --device cuda --images 10000 --out FILE

    clean         one pass over --images: `plain`, and `ours` (evaluation.accuracy.evaluate)
    pgd           PGD of --steps on --attack_images, and the prediction after it: `plain`, and `ours`. A step is one of
                  a whole batch, a forward-backward one of an image
    cell          a pass over one cell of the corruption table, --images from a memory-mapped array: read by `workers`,
                  --num_workers of them, started for it, and `mapped`, read in this process as the table is
    corruptions   --corrupted_images made of clean ones by each of the 15 corruptions, in this process

`plain` is the reference: the same network in contiguous layout, its parameters not frozen, so that the attack's graph
keeps what their gradients would take. Its logits are held against ours first. The contestants of a part take turns;
figures are medians over --repeats, ratios those of the medians.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import copy
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.attack import AttackSettings
from benchmarks.bench_data import SIZE
from benchmarks.frame import add_timing_options, describe_machine, write_figures
from benchmarks.turns import medians, speed_ratios, take_turns
from dataset import ArraySource, dataset_spec
from dataset.corrupted_sets import open_corrupted_set
from dataset.corruptions import CORRUPTIONS, SEVERITIES, corrupt, load_frost
from dataset.options import DataSettings
from evaluation.accuracy import evaluate
from evaluation.data import evaluation_loader
from helper import command_line
from helper.placement import place_model
from helper.precision import full_precision
from helper.processes import Processes, start_processes
from masks.selection import set_random_masks
from models import ARCHITECTURES, STUDENTS, build_model
from models.layers import Network, relu_sites

DATA = dataset_spec("cifar10")
CELL = "fog"  # which one makes no difference to reading it


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--model", choices=[*ARCHITECTURES, *STUDENTS], default="resnet20", help="default: resnet20")
    parser.add_argument("--kept", type=command_line.pixels, default=1.0, help="share of its ReLUs (default: 1)")
    parser.add_argument("--images", type=command_line.positive, default=1024, help="default: 1024")
    parser.add_argument("--attack_images", type=command_line.positive, default=128, help="default: 128")
    parser.add_argument("--corrupted_images", type=command_line.positive, default=256, help="default: 256")
    parser.add_argument("--severity", type=int, choices=SEVERITIES, default=3, help="default: 3")
    parser.add_argument("--steps", type=command_line.positive, default=20, help="of PGD (default: 20)")
    parser.add_argument("--batch_size", type=command_line.positive, default=128, help="default: 128")
    parser.add_argument("--num_workers", type=command_line.thread_count, default=2, help="default: 2")
    add_timing_options(parser)
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Sizes:
    """The options of the same names."""

    images: int
    attack_images: int
    corrupted_images: int
    severity: int
    steps: int
    repeats: int


def network(name: str, kept: float) -> Network:
    torch.manual_seed(0)
    model = build_model(name, num_classes=DATA.num_classes, image_size=SIZE, mean=DATA.mean, std=DATA.std)
    if kept < 1:
        set_random_masks(model, [int(kept * site.total) for site in relu_sites(model).values()], seed=0)
    return model


class Bench:
    """`ours` and `plain` are `model` twice; `pixels` uint8 (N, 32, 32, 3) and `labels` (N,) are random."""

    def __init__(self, model: Network, sizes: Sizes, reading: DataSettings, processes: Processes):
        self.sizes, self.reading, self.processes, self.device = sizes, reading, processes, processes.device
        rng = np.random.default_rng(0)
        count = max(sizes.images, sizes.attack_images, sizes.corrupted_images)
        self.pixels = rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
        self.labels = rng.integers(0, DATA.num_classes, count)
        self.plain = copy.deepcopy(model).to(self.device).eval()
        self.ours = place_model(model, self.device).eval()
        self.pgd = AttackSettings("pgd", 8 / 255, 2 / 255, sizes.steps)

    def batches(self, images: int) -> list[dict[str, Tensor]]:
        """The first `images` as a loader gives them, held in memory."""
        source = ArraySource(self.pixels[:images], self.labels[:images])
        return list(evaluation_loader(self.reading, DATA, self.processes, source, workers=0))

    def check(self) -> None:
        """Raises AssertionError where the two networks differ."""
        x = self.batches(min(self.sizes.images, self.reading.batch_size))[0]["clean"].to(self.device)
        with torch.no_grad(), full_precision():
            expected = self.plain(x)
            ours = self.ours(x.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))

    def evaluate(self, batches, **what) -> dict:
        return evaluate(self.ours, batches, self.processes, **what)

    def pass_plainly(self, batches: list[dict[str, Tensor]]) -> None:
        with full_precision(), torch.no_grad():
            for batch in batches:
                self.plain(batch["clean"].to(self.device)).argmax(1)

    def attack_plainly(self, batches: list[dict[str, Tensor]]) -> None:
        with full_precision():
            for batch in batches:
                x, labels, indices = (batch[name].to(self.device) for name in ("clean", "label", "index"))
                noise = partial(sample_noise, indices, x.shape[1:], 0, 0)
                x_adv = self.pgd(self.plain, x, labels, loss=cross_entropy_per_image, random_start=noise)
                with torch.no_grad():
                    self.plain(x_adv).argmax(1)

    def take(self, contestants: dict[str, Callable[[], object]], images: int) -> dict:
        """Figures of a part, each of whose calls takes `images`; ratios are to the first contestant."""
        seconds = take_turns(contestants, self.sizes.repeats, self.device)
        middle = medians(seconds)
        speeds = {name: images / value for name, value in middle.items()}
        reference = next(iter(contestants))
        ratios = speed_ratios(middle, reference)
        return {
            "images": images,
            "seconds": seconds,
            "images_per_second": speeds,
            "reference": reference,
            "times_reference": ratios,
        }

    def clean(self) -> dict:
        batches = self.batches(self.sizes.images)
        calls: dict[str, Callable[[], object]] = {
            "plain": partial(self.pass_plainly, batches),
            "ours": partial(self.evaluate, batches, clean_branches=[0]),
        }
        return self.take(calls, self.sizes.images)

    def attack(self) -> dict:
        batches = self.batches(self.sizes.attack_images)
        through = {"clean_branches": [], "attack_branches": [0], "attack": self.pgd}
        calls: dict[str, Callable[[], object]] = {
            "plain": partial(self.attack_plainly, batches),
            "ours": partial(self.evaluate, batches, **through),
        }
        found = self.take(calls, self.sizes.attack_images)
        speeds, steps = found["images_per_second"], self.sizes.steps
        found["forward_backwards_per_second"] = {name: speed * steps for name, speed in speeds.items()}
        found["steps_per_second"] = {
            name: speed * steps * len(batches) / self.sizes.attack_images for name, speed in speeds.items()
        }
        return found

    def cell(self, folder: Path) -> dict:
        images, severity = self.sizes.images, self.sizes.severity
        test = ArraySource(self.pixels[:images], self.labels[:images])
        np.save(folder / f"{CELL}.npy", np.tile(test.images, (len(SEVERITIES), 1, 1, 1)))
        np.save(folder / "labels.npy", np.tile(test.labels, len(SEVERITIES)))
        corrupted = open_corrupted_set(DATA, folder, test, [CELL], [severity])
        assert corrupted is not None

        def read(workers: int | None) -> None:
            source = corrupted.source(CELL, severity)
            batches = evaluation_loader(self.reading, DATA, self.processes, source, workers=workers)
            self.evaluate(batches, clean_branches=[0])

        return self.take({"workers": lambda: read(None), "mapped": lambda: read(0)}, images)

    def corruptions(self) -> dict:
        images, frost = self.pixels[: self.sizes.corrupted_images], load_frost(None, SIZE)
        calls: dict[str, Callable[[], object]] = {
            name: partial(corrupt, images, name, self.sizes.severity, frost=frost) for name in CORRUPTIONS
        }
        found = self.take(calls, len(images))
        middle = medians(found["seconds"])
        # They are no rivals: in place of ratios the speed at which a table of them all is made.
        speeds = {**found["images_per_second"], "all": len(calls) * len(images) / sum(middle.values())}
        return {"images": len(images), "seconds": found["seconds"], "images_per_second": speeds}


def lines_of(part: str, found: dict) -> list[str]:
    more = [name for name in ("steps_per_second", "forward_backwards_per_second") if name in found]
    titles = "".join(f"  {name.replace('_per_second', '/s').replace('_', '-')}" for name in more)
    lines = ["", f"{part + ', ' + str(found['images']) + ' images':32} {'images/s':>10} {'ratio':>7}{titles}"]
    for name, speed in found["images_per_second"].items():
        ratio = f"{found['times_reference'][name]:7.2f}" if "times_reference" in found else ""
        rates = "".join(f"{found[rate][name]:>{len(rate) - 6},.1f}" for rate in more)
        lines.append(f"  {name:30} {speed:10,.0f} {ratio}{rates}".rstrip())
    return lines


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    processes = start_processes(args.device)
    sizes = Sizes(**{field.name: getattr(args, field.name) for field in fields(Sizes)})
    reading = DataSettings(batch_size=args.batch_size, num_workers=args.num_workers)
    bench = Bench(network(args.model, args.kept), sizes, reading, processes)
    bench.check()
    machine = describe_machine(processes.device)
    print(f"{args.model}, {args.kept:.0%} of the ReLUs, batches of {args.batch_size}, medians of {args.repeats}")
    with TemporaryDirectory() as folder:
        parts: dict[str, Callable[[], dict]] = {
            "clean": bench.clean,
            "pgd": bench.attack,
            "cell": partial(bench.cell, Path(folder)),
            "corruptions": bench.corruptions,
        }
        figures = {}
        for part, take in parts.items():
            figures[part] = take()
            print("\n".join(lines_of(part, figures[part])), flush=True)
    write_figures(vars(args), machine, figures)


if __name__ == "__main__":
    run_script(main, parse_args)
