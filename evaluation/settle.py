"""From the options of an evaluation to its plan."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import MappingProxyType

from dataset.options import data_settings
from evaluation.corruption_error import check_baseline
from evaluation.data import Corruptions
from evaluation.options import ADVERSARIAL, chosen_corruptions, evaluation_attacks
from evaluation.plan import EvaluationPlan
from formats.checkpoint import Checkpoint
from helper.errors import UserError
from helper.run_folder import measurements_folder, plain_arguments
from models import STUDENTS, own
from models.branches import branch_count, trained_branch_of
from models.restore import checkpoint_data
from reporting.results import read_results

MODES = {False: "Normal_Network", True: "Custom_Network"}  # by whether the model is a masked student


def settle(args: argparse.Namespace, checkpoint: Checkpoint) -> EvaluationPlan:
    """The plan for `checkpoint`, read from args.path, with the options `args`, which stay as they are.

    Raises UserError for options that contradict the checkpoint, the machine or the baseline.
    """
    check_options(args, checkpoint)
    data = checkpoint_data(checkpoint, args.path, args.dataset)
    attacks = evaluation_attacks(args)
    for attack in attacks:
        attack.entry.check()
    corruptions = settle_corruptions(args)
    baseline = read_results(args.baseline) if args.baseline else None
    if baseline:
        check_baseline(baseline, args.baseline, data.name, list(corruptions.names), list(corruptions.severities))
    return EvaluationPlan(
        checkpoint=args.path,
        model=checkpoint.model.name,
        branches=checkpoint.trained_branches,
        attacked=attacked_branches(args.attack_branches, checkpoint),
        data=data,
        images=data_settings(args),
        attacks=tuple(attacks),
        corruptions=corruptions,
        baseline=baseline,
        folder=folder_of(args, "validation", args.path),
        resume=resumed_file(args),
        figures=not args.no_figures,
        seed=args.seed,
        record=MappingProxyType(plain_arguments({**vars(args), "severities": list(corruptions.severities)})),
    )


def folder_of(args: argparse.Namespace, kind: str, checkpoint: Path, more: str = "") -> Path:
    """Where results of that kind go: --run_name, or what the checkpoint is called, and `more`."""
    parent = Path(args.save_dir, kind)
    if args.run_name:
        return parent / args.run_name
    return measurements_folder(parent, checkpoint, more, long_names=args.long_names)


def attacked_branches(asked: str, checkpoint: Checkpoint) -> tuple[int, ...]:
    """Those that attacks are made through, by --attack_branches."""
    trained = checkpoint.trained_branches
    if asked == ADVERSARIAL:
        return (trained_branch_of("adv", checkpoint.model.branches, trained),)
    return tuple(trained)


def check_options(args: argparse.Namespace, checkpoint: Checkpoint) -> None:
    """Raise UserError, naming both values, for an option that contradicts the checkpoint."""
    name, branches = checkpoint.model.name, checkpoint.model.branches
    given = branch_count(use2BN=args.use2BN, use3BN=args.use3BN)
    for option, value, stored in (
        ("--model", args.model, own.spoken_name(name)),
        ("--validate_mode", args.validate_mode, MODES[name in STUDENTS]),
        (f"--use{given}BN:", given if given > 1 else None, branches),
    ):
        if value is not None and value != stored:
            raise UserError(f"{option} {value} contradicts {args.path}, which has {stored}")


def settle_corruptions(args: argparse.Namespace) -> Corruptions:
    """--corruption_dir and --generate where the script has them; otherwise images are corrupted as they are read."""
    return Corruptions(
        tuple(chosen_corruptions(args.corruptions)),
        tuple(sorted(set(args.severities))),
        getattr(args, "generate", True),
        args.frost_dir,
        Path(args.corruption_dir) if getattr(args, "corruption_dir", None) else None,
        verify=not getattr(args, "no_verify", False),
    )


def resumed_file(args: argparse.Namespace) -> Path | None:
    """The measurements that --resume names."""
    return None if args.resume in (None, "auto") else Path(args.resume)
