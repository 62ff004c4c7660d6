"""Students of one teacher for several budgets, and what each is worth for its cost: accuracy against ReLUs and seconds.

    python sweep.py --path_t zoo:cifar10_resnet20_teacher_24 --relu_budget 50% 25% 9%
    python sweep.py --path_t TEACHER --seconds_budget 20 12 --relu_budget 9% --protocol cheetah --network wan
    python sweep.py --path_t TEACHER --relu_budget 50k 25k --stage1="--preset fast" --stage2="--density .05"

For every budget stage 1, stage 2, and CA, NPA and AdvA of the student; private inference is estimated. Students have
their teacher's augmentation, attack and batch-norm branches; other options of a stage are given in quotation marks.
What is done is not done again: the same command goes on where the last one ended, and a budget more adds to what is
there. Writes <save_dir>/<name>/ with all runs, results.md, report.html, and pareto.png and .pdf.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path

import train_student_stage1_multigpu
import train_student_stage2_multigpu
import validate_common_corruptions
from helper import command_line
from helper.errors import UserError
from helper.run_folder import checkpoint_name
from private_inference.costs.link import NETWORKS, network
from private_inference.engine.protocols import PROTOCOLS
from reproduction.carry_out import carry_out
from reproduction.config import Options
from reproduction.options import add_work_options, settle_work
from reproduction.steps import ESTIMATE
from reproduction.sweep import as_options, sweep_config

# The parser of each part, and the options that it cannot do without.
PARTS: dict[str, tuple[Callable, tuple[str, ...]]] = {
    "stage1": (train_student_stage1_multigpu.parse_args, ("--relu_budget", "1", "--path_t")),
    "stage2": (train_student_stage2_multigpu.parse_args, ("--path_s_load", "student", "--path_t")),
    "evaluation": (validate_common_corruptions.parse_args, ("--path",)),
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "--path_t",
        required=True,
        type=command_line.checkpoint_file,
        metavar=command_line.CHECKPOINT,
        help="the teacher: a checkpoint of train_teacher.py",
    )
    parser.add_argument(
        "--relu_budget",
        nargs="+",
        default=[],
        metavar="N",
        help="ReLUs that students keep: numbers such as 82650 or 50k, or shares of all, 25%%",
    )
    parser.add_argument(
        "--seconds_budget",
        nargs="+",
        default=[],
        type=command_line.number,
        metavar="S",
        help="seconds that private inference of an image may take, by --protocol over --network",
    )
    parser.add_argument("--name", type=command_line.folder_name, help="of the sweep's folder (default: the teacher's)")
    parser.add_argument("--seed", type=command_line.seed, default=0, help="of all trainings (default: 0)")
    group = parser.add_argument_group("options of the scripts, with = and in quotation marks")
    for part, default, script in (
        ("stage1", "--mask_search taylor", "train_student_stage1_multigpu.py"),
        ("stage2", "--dense", "train_student_stage2_multigpu.py"),
        ("evaluation", "--generate", "validate_common_corruptions.py"),
    ):
        group.add_argument(f"--{part}", default=default, metavar="OPTIONS", help=f"of {script} (default: '{default}')")
    group = parser.add_argument_group("private inference")
    group.add_argument("--protocol", choices=PROTOCOLS, default="cheetah", help="default: cheetah")
    group.add_argument(
        "--network",
        type=link,
        default="wan",
        metavar="|".join([*NETWORKS, "BANDWIDTH,RTT"]),
        help="between the parties: a name, or Mbit/s and ms there and back, such as 400,4 (default: wan)",
    )
    group.add_argument(
        "--measure", action="store_true", help="run it between two parties for its bytes and rounds (default: estimate)"
    )
    add_work_options(parser)
    parser.add_argument(
        "--save_dir", default="save/sweep", metavar="DIR", help="default: save/sweep; each sweep has a folder"
    )
    return parser.parse_args(argv)


def link(text: str) -> str:
    network(text)
    return text


def options_of(part: str, text: str, teacher: Path) -> Options:
    """What somebody typed for a part, once its script has found nothing wrong with it."""
    parse, required = PARTS[part]
    words = shlex.split(text)
    options = as_options(words, f"--{part}")
    parsed = parse([*required, str(teacher), *words])
    return options | ({"epochs": parsed.epochs} if hasattr(parsed, "epochs") else {})


def main(args: argparse.Namespace) -> None:
    budgets = [*args.relu_budget, *(f"{seconds:g}s" for seconds in args.seconds_budget)]
    if not budgets:
        raise UserError("a sweep needs budgets, such as --relu_budget 50% 25% or --seconds_budget 12")
    options = {part: options_of(part, getattr(args, part), args.path_t) for part in PARTS}
    private = {"protocol": args.protocol, "network": [args.network], ESTIMATE: not args.measure}
    name = args.name or checkpoint_name(args.path_t)
    config = sweep_config(args.path_t, budgets, name, args.seed, options, private)
    carry_out(config, settle_work(args, name), ["sweep"])


if __name__ == "__main__":
    run_script(main, parse_args)
