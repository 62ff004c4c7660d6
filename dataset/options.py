"""The command line of everything that reads a data set."""

from __future__ import annotations

from helper.machine import available_cores

import argparse
from dataclasses import dataclass

from dataset import DATASETS
from dataset.folder import PREFIX, is_folder
from helper.command_line import Parser, positive, worker_count

DATA_ON = ("auto", "device", "workers")


@dataclass(frozen=True)
class DataSettings:
    """How the images of a data set are read: the options of the same names, `data_on` settled.

    `limit_images`: --images, how many an evaluation takes.
    """

    data_root: str = "data"
    no_download: bool = False
    batch_size: int = 128
    num_workers: int = 0
    select_on: str = "heldout"
    limit_train_batches: int | None = None
    limit_val_batches: int | None = None
    data_on: str = "workers"
    limit_images: int | None = None


def data_settings(args: argparse.Namespace, *, data_on: str = "workers") -> DataSettings:
    return DataSettings(
        args.data_root,
        args.no_download,
        args.batch_size,
        args.num_workers,
        args.select_on,
        args.limit_train_batches,
        args.limit_val_batches,
        data_on,
        getattr(args, "images", None),
    )


def dataset_name(text: str) -> str:
    if text not in DATASETS and not is_folder(text):
        known = ", ".join(DATASETS)
        raise argparse.ArgumentTypeError(f"unknown data set '{text}'; known are {known}, and {PREFIX}PATH")
    return text


def add_dataset_option(group: argparse._ActionsContainer, *, default: str | None = None, says: str = "") -> None:
    """`says`: what it is to this script."""
    group.add_argument(
        "--dataset",
        type=dataset_name,
        default=default,
        metavar="NAME",
        help=f"{says}{', '.join(DATASETS)}; or {PREFIX}PATH, whose train/<class>/ and test/<class>/, or val/, "
        f"hold images (default: {default or 'that of the checkpoint'})",
    )


def add_data_options(
    parser: Parser,
    *,
    dataset: str | None,
    batch_size: int = 128,
    select_on: str = "heldout",
    augments: bool = False,
    counts: bool = True,
) -> None:
    """`augments`: the script trains; it crops, flips and mixes images, and may do so in more than one place. `counts`:
    --images says on how many it evaluates.
    """
    group = parser.add_argument_group("data")
    add_dataset_option(group, default=dataset)
    group.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    group.add_argument("--no_download", action="store_true", help="never fetch a missing data set")
    group.add_argument(
        "--batch_size",
        type=positive,
        default=batch_size,
        help=f"images a step over all processes together (default: {batch_size})",
    )
    workers = min(4, available_cores())
    group.add_argument(
        "--num_workers", type=worker_count, default=workers, help=f"loader processes per process (default: {workers})"
    )
    if augments:
        group.add_argument(
            "--data_on",
            choices=DATA_ON,
            default="auto",
            help="where images are cropped, flipped and mixed. workers: one by one in --num_workers processes; device: "
            "in whole batches where the network is, all images being held there (CIFAR takes 0.2 GB), which leaves the "
            "cores alone. The order of images is the same, and so is the distribution of crops and AugMix, but not "
            "the draws: a run goes on only with what it began with. auto: device on a GPU, but for ImageNet, which "
            "is too large; workers on a CPU, where they run beside the training on other cores (default: auto)",
        )
    group.add_argument(
        "--limit_train_batches",
        type=positive,
        metavar="N",
        help="at most N training batches an epoch" if augments else argparse.SUPPRESS,
    )
    if counts:
        group.add_argument(
            "--images", type=positive, metavar="N", help="N evenly spaced images in every evaluation (default: all)"
        )
    group.add_argument("--limit_val_batches", type=positive, metavar="N", help="the first N batches of an evaluation")
    group.add_argument(
        "--select_on",
        choices=("heldout", "test", "last"),
        default=select_on,
        help="what the best epoch is chosen on: heldout, a fixed tenth of the training set, then not trained on; test, "
        f"the published habit, which flatters; or last: no choice, the last epoch it is (default: {select_on})"
        if augments
        else "what to measure on: heldout, the tenth of the training set that training held out, or, with the others, "
        f"the test set (default: {select_on})",
    )
