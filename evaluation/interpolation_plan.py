"""What an interpolation between branches will look for, decided before. `settle` makes the plan from the options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from attacks.attack import AttackSettings
from dataset import DatasetSpec
from dataset.options import DataSettings, data_settings
from evaluation.data import Corruptions
from evaluation.interpolation import check_branches
from evaluation.options import evaluation_attacks
from evaluation.plan import folder_of, resumed_file, settle_corruptions
from helper.errors import UserError
from helper.run_folder import plain_arguments
from helper.zoo import in_zoo
from models.restore import checkpoint_data


@dataclass(frozen=True)
class InterpolationPlan:
    """`t`: the only one to measure at, None for the best of `grid` ones by `weight`, what AdvA counts against CA.

    `estimate_images`: of training images that statistics are estimated on, None where they are interpolated.
    `attack_images`, `corrupt_images`: how many evenly spaced ones are attacked and corrupted. `out`: the file of the
    one-branch checkpoint, None for a name beside the checkpoint's. `record`: every option under its own name.
    """

    checkpoint: Path
    data: DatasetSpec
    images: DataSettings
    weight: float | None
    t: float | None
    grid: int
    estimate_images: int | None
    attack: AttackSettings
    attack_images: int
    corruptions: Corruptions
    corrupt_images: int
    folder: Path
    out: Path | None
    resume: Path | None
    seed: int
    record: Mapping[str, object]

    @property
    def suffix(self) -> str:
        return _suffix(estimated=self.estimate_images is not None)

    def file(self, t: float) -> Path:
        """Of the one-branch checkpoint at `t`."""
        beside = (
            self.folder if in_zoo(self.checkpoint) else self.checkpoint.parent
        )  # the zoo holds what its index names
        return self.out or beside / f"{self.checkpoint.stem}_t{t:g}{self.suffix}.pth"

    def statistics_in_words(self, images: int) -> str:
        """`images`: how many there were to estimate on."""
        if self.estimate_images is None:
            return "interpolated"
        return f"estimated on {images} training images in batches of {self.images.batch_size}"

    def warnings(self, checkpoint: dict) -> list[str]:
        if self.images.select_on != "heldout":
            said = "t was looked for on the test set: accuracies measured on it flatter"
            return [said] if self.t is None else []
        trained = checkpoint.get("args", {}).get("select_on", "heldout")
        if trained != "heldout":
            return [f"the network was trained with --select_on {trained}, on the held-out images too: they flatter it"]
        return []


def settle(args: argparse.Namespace, checkpoint: dict) -> InterpolationPlan:
    """The plan for `checkpoint`, read from args.checkpoint, with the options `args`, which stay as they are.

    Raises UserError for options that contradict the checkpoint, and for a file that must not be written.
    """
    check_options(args, checkpoint)
    corruptions = settle_corruptions(args)
    estimated = args.statistics == "estimate"
    # The point of a single --t does not replace a curve.
    single = "" if args.t is None else f"_t{args.t:g}"
    more = f"{single}{_suffix(estimated=estimated)}"
    chosen = {"corruptions": list(corruptions.names), "severities": list(corruptions.severities)}
    return InterpolationPlan(
        checkpoint=args.checkpoint,
        data=checkpoint_data(checkpoint, args.checkpoint, args.dataset),
        images=data_settings(args),
        weight=args.weight,
        t=args.t,
        grid=args.grid,
        estimate_images=args.estimate_images if estimated else None,
        attack=evaluation_attacks(args)[-1],
        attack_images=args.attack_images,
        corruptions=corruptions,
        corrupt_images=args.corrupt_images,
        folder=folder_of(args, "interpolation", args.checkpoint, more),
        out=args.out,
        resume=resumed_file(args),
        seed=args.seed,
        record=MappingProxyType(plain_arguments({**vars(args), **chosen})),
    )


def check_options(args: argparse.Namespace, checkpoint: dict) -> None:
    """Raise UserError for options that contradict the checkpoint, and for a file that must not be written."""
    check_branches(checkpoint, args.checkpoint)
    if args.grid < 2:
        raise UserError("--grid 1: 2 or more values of t; --t takes a single one")
    if args.out and (args.out.is_dir() or args.out.resolve() == args.checkpoint.resolve()):
        raise UserError(f"--out {args.out}: name another file, which the one-branch checkpoint may have for itself")


def _suffix(*, estimated: bool) -> str:
    return "_estimated" if estimated else ""
