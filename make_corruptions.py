"""Write a corrupted test set in the published layout of CIFAR-10-C (Hendrycks & Dietterich, ICLR 2019).

    python make_corruptions.py --dataset cifar10                       data/CIFAR-10-C: 15 corruptions, 5 severities
    python make_corruptions.py --dataset digits --corruptions fog snow --severities 1 3 --out digits-C
    python make_corruptions.py --dataset cifar10 --frost_dir frost     with the authors' photographs of frost
    python make_corruptions.py --dataset cifar10 --verify CIFAR-10-C   compare what was written with the published files

CIFAR and digits: <corruption>.npy, uint8 (severities * N, S, S, 3), and labels.npy; Tiny-ImageNet: JPEG files in
<corruption>/<severity>/<class>/. manifest.json beside them says what they were made of, with a digest of every file.
After an interruption, whatever it was, the same command goes on: what is finished and intact is not made again, and the
bytes depend on the test set and --seed alone.

Exit status: 0; 1 where --verify found a difference; 2, and one line that says what to do, where something is wrong.
"""

from __future__ import annotations

from helper.machine import available_cores
from helper.script import Stopped, StopSignal, run_script

import argparse
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
from tqdm import tqdm

from dataset import DATASETS, DatasetSpec, ImageSource, dataset_spec, load_dataset
from dataset.corruption_verify import Benchmark, verify
from dataset.corruption_workers import Workers
from dataset.corruption_writer import (
    GO_ON,
    ArrayPiece,
    FolderPiece,
    LabelPiece,
    OutFolder,
    Piece,
    block,
    describe,
    file_names,
    label_array,
)
from dataset.corruptions import IMAGE_SIZES
from dataset.corruptions.frost import Frost, load_frost
from dataset.crops import fitted
from dataset.options import dataset_name
from evaluation.options import add_corruption_options, chosen_corruptions
from helper import command_line

BLOCK = 250  # images a task: a second's work at most, and a few megabytes


def corruptible(text: str) -> str:
    size = dataset_spec(dataset_name(text)).image_size
    if size not in IMAGE_SIZES:
        known = " and ".join(map(str, IMAGE_SIZES))
        raise argparse.ArgumentTypeError(
            f"{text} has {size} pixels a side, and constants exist for {known} pixels only"
        )
    return text


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    group = parser.add_argument_group("data")
    names = [spec.name for spec in DATASETS.values() if spec.image_size in IMAGE_SIZES]
    group.add_argument(
        "--dataset",
        type=corruptible,
        required=True,
        metavar="NAME",
        help=f"its test images are taken: {', '.join(names)} or folder:PATH",
    )
    group.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    group.add_argument("--no_download", action="store_true", help="never fetch a missing data set")
    group.add_argument(
        "--out",
        metavar="DIR",
        help="the folder to write (default: the published name, such as CIFAR-10-C, in data_root)",
    )
    group = parser.add_argument_group("corruptions")
    add_corruption_options(group)
    group.add_argument(
        "--seed", type=command_line.seed, default=0, help="of all that is random in a corruption (default: 0)"
    )
    group = parser.add_argument_group("run")
    cores = available_cores()
    group.add_argument(
        "--workers",
        type=command_line.thread_count,
        default=cores,
        metavar="N",
        help=f"processes that compute (default: {cores})",
    )
    group.add_argument(
        "--verify",
        type=Path,
        metavar="OFFICIAL_DIR",
        help="write nothing; compare --out with a published folder, the deterministic corruptions byte by byte, the "
        "random ones by their statistics. Exit status 0: all agree; 1: some do not",
    )
    return parser.parse_args(argv)


def pieces_of(
    spec: DatasetSpec, source: ImageSource, images: np.ndarray, out: Path, names: list[str], severities: list[int]
) -> list[Piece]:
    """Everything that belongs into the folder `out`, in the data set's layout."""
    if spec.corrupted_layout == "files":
        files = file_names(source)
        cells = [(name, severity) for name in names for severity in severities]
        return [FolderPiece(out, *cell, files, source.classes) for cell in cells]
    labels = label_array(source.labels, len(severities), spec.num_classes)
    return [LabelPiece(out, labels), *(ArrayPiece(out, name, severities, images.shape) for name in names)]


def missing_pieces(folder: OutFolder, pieces: list[Piece], options: dict) -> list[Piece]:
    """Those that are not there, or not intact. Raises UserError where the disk has no room for them."""
    with tqdm(pieces, "check", unit="file", **options) as bar:
        missing = [piece for piece in bar if not folder.finished(piece)]
    print(f"{len(pieces) - len(missing)} of {len(pieces)} files are there and intact; ", end="")
    folder.check_room(missing)
    return missing


def make(
    folder: OutFolder, missing: list[Piece], work: Callable, images: int, workers: int, stop: StopSignal, options: dict
) -> Iterator[Piece]:
    """Every piece as it is finished: `work` makes a block of images of one of them."""
    waiting = {(piece.corruption, piece.severities): piece for piece in missing if piece.cells}
    blocks = [(start, min(start + BLOCK, images)) for start in range(0, images, BLOCK)]
    tasks = [(*task, *ends) for task in waiting for ends in blocks]
    options = options | {"total": sum(piece.cells for piece in missing), "unit": "image", "disable": not tasks}
    before = perf_counter()
    with Workers(min(workers, len(tasks)), work) as pool, tqdm(smoothing=0, **options) as bar:
        for (corruption, severities, start, end), rows in pool.results(tasks, stop.all_saved):
            piece = waiting[corruption, severities]
            bar.set_description(piece.corruption, refresh=False)
            bar.update((end - start) * len(piece.severities))
            if piece.write(start, rows):
                folder.accept(piece)
                # Where nobody watches the bar, which would be torn, a plain line.
                say = bar.write if sys.stderr.isatty() else partial(print, flush=True)
                say(f"{piece.key}: {perf_counter() - before:.1f} s")
                before = perf_counter()
                yield piece


def announce(spec: DatasetSpec, images: int, corruptions: int, out: Path, frost: Frost | None) -> None:
    print(f"{spec.name}: {images:,} test images, {corruptions} corruptions to {out}", flush=True)
    if frost and frost.source != "photographs":
        print("frost (procedural): no --frost_dir, so a drawn texture stands in, NOT COMPARABLE with the published")


def main(args: argparse.Namespace) -> None:
    started = perf_counter()
    stop = StopSignal()
    spec = dataset_spec(args.dataset)
    out = Path(args.out or Path(args.data_root) / spec.corrupted_folder).expanduser()
    names, severities = chosen_corruptions(args.corruptions), sorted(set(args.severities))
    # Where nobody watches (a log file), a line every half minute.
    options = {"mininterval": 0.5 if sys.stderr.isatty() else 30, "maxinterval": 30, "leave": False}
    pieces, finished = [], 0
    try:
        # The test set.
        with stop.all_saved():
            source = load_dataset(spec, args.data_root, train=False, download=not args.no_download)
            images = np.stack([np.asarray(image) for image in fitted(source, spec).batch(range(len(source)))])
            as_files = spec.corrupted_layout == "files"
            if args.verify:
                files = file_names(source) if as_files else None
                ours, theirs = (Benchmark(path, images, source.labels, files) for path in (out, args.verify))
                text, agree = verify(ours, theirs, names, images, options)
                print(text)
                raise SystemExit(0 if agree else 1)
            frost = load_frost(args.frost_dir, images.shape[1]) if args.frost_dir or "frost" in names else None
        announce(spec, len(images), len(names), out, frost)

        # What is there of it.
        with stop.all_saved():
            used = frost if "frost" in names else None
            folder = OutFolder(out, describe(spec.name, images, source.labels, severities, args.seed, used))
            pieces = pieces_of(spec, source, images, out, names, severities)
            missing = missing_pieces(folder, pieces, options)
            skipped = finished = len(pieces) - len(missing)
            if missing and isinstance(missing[0], LabelPiece):
                folder.accept(missing[0])
                finished += 1

        # The rest.
        work = partial(block, images, args.seed, frost, as_files)
        for _ in make(folder, missing, work, len(images), args.workers, stop, options):
            finished += 1
    except Stopped:
        raise Stopped(f"stopped: {finished} of {len(pieces)} files are finished; {GO_ON}") from None
    print(f"{len(missing)} files made, {skipped} skipped, {perf_counter() - started:.0f} s: {out}")


if __name__ == "__main__":
    run_script(main, parse_args)
