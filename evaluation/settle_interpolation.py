"""From the options of an interpolation between branches to its plan."""

from __future__ import annotations

import argparse
from types import MappingProxyType

from dataset.options import data_settings
from evaluation.interpolation import check_branches
from evaluation.interpolation_plan import InterpolationPlan, suffix_of
from evaluation.options import evaluation_attacks
from evaluation.settle import folder_of, resumed_file, settle_corruptions
from formats.checkpoint import Checkpoint
from helper.errors import UserError
from helper.files import real_path
from helper.run_folder import plain_arguments
from models.restore import checkpoint_data


def settle(args: argparse.Namespace, checkpoint: Checkpoint) -> InterpolationPlan:
    """The plan for `checkpoint`, read from args.checkpoint, with the options `args`, which stay as they are.

    Raises UserError for options that contradict the checkpoint, and for a file that must not be written.
    """
    check_options(args, checkpoint)
    corruptions = settle_corruptions(args)
    estimated = args.statistics == "estimate"
    # The point of a single --t does not replace a curve.
    single = "" if args.t is None else f"_t{args.t:g}"
    more = f"{single}{suffix_of(estimated=estimated)}"
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


def check_options(args: argparse.Namespace, checkpoint: Checkpoint) -> None:
    """Raise UserError for options that contradict the checkpoint, and for a file that must not be written."""
    check_branches(checkpoint, args.checkpoint)
    if args.grid < 2:
        raise UserError("--grid 1: 2 or more values of t; --t takes a single one")
    if args.out and (args.out.is_dir() or real_path(args.out) == real_path(args.checkpoint)):
        raise UserError(f"--out {args.out}: name another file, which the one-branch checkpoint may have for itself")
