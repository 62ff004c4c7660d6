"""Searches, granularities and ways to share a budget out, from one teacher, with equal epochs and one seed.

    python -m benchmarks.bench_budgets --teacher zoo:cifar10_resnet20_teacher_24 --data_root data --dry_run
    python -m benchmarks.bench_budgets --teacher zoo:cifar10_resnet20_teacher_24 --data_root data --measure

For each of --budgets: every search by position and by channel, shared out as each does by itself. For the last of them
also the default search with what compute_sensitivity.py measures, linearized and pruned, in the place of the profile;
and students of budgets in seconds, whose ReLUs may take --shares of what those of the last of --budgets, shared out by
the profile, take over --network. --measure runs these and their rival over the emulated link (root, make pi). Every
step is a command of the scripts, printed before it runs; a finished one is not run again.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from helper import command_line
from helper.errors import UserError
from helper.run_folder import run_folder
from helper.text import percent, table
from masks.allocation import allocate_budget, layer_sensitivities, relu_count, total_of
from masks.search import searches
from models import architecture_of, student_name
from models.restore import load_model
from private_inference.costs.estimate import load_constants
from private_inference.costs.link import Network, network
from private_inference.costs.options import LINK
from private_inference.costs.prices import ReluPrices, relu_prices
from private_inference.engine.protocols import EngineSettings
from reporting.results import read_results
from training.naming import checkpoint_stem

METHODS = ("linearize", "prune")


@dataclass(frozen=True)
class Student:
    """`budget`: the options of stage 1 that say how many ReLUs it keeps, and how they are found."""

    name: str
    budget: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """The options of all students' runs, and where these lie; `model` is the teacher's architecture."""

    teacher: Path
    model: str
    sensitivity: tuple[str, ...]
    stage1: tuple[str, ...]
    stage2: tuple[str, ...]
    common: tuple[str, ...]
    data_root: str
    save_dir: str

    @property
    def place(self) -> list[str]:
        return ["--save_dir", self.save_dir, "--data_root", self.data_root]

    @property
    def sensitivities(self) -> Path:
        return Path(self.save_dir, "sensitivity", "bench")

    def best_file(self, student: Student, stage: int) -> Path:
        """The raw weights that its run selects by clean accuracy, of an attacked run."""
        stem = checkpoint_stem(student_name(self.model), stage, attacked=True)
        return run_folder(self.save_dir, stage, f"bench_{student.name}") / f"{stem}_best_TA0.0.pth"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--teacher", required=True, type=command_line.checkpoint_file, metavar=command_line.CHECKPOINT)
    parser.add_argument(
        "--budgets", nargs="+", type=relu_count, default=["25%", "9%"], metavar="N", help="default: 25%% 9%%"
    )
    parser.add_argument("--network", type=network, default=network("wan"), metavar=LINK, help="default: wan")
    parser.add_argument(
        "--shares", nargs="+", type=command_line.share, default=[1, 0.6, 0.3], metavar="S", help="default: 1 .6 .3"
    )
    parser.add_argument(
        "--sensitivity", default="", metavar="OPTIONS", help="of compute_sensitivity.py (default: its own)"
    )
    parser.add_argument(
        "--stage1",
        default="--epochs 4 --learning_rate 0.05 --lr_schedule onecycle --init_student teacher",
        metavar="OPTIONS",
        help="of all students (default: %(default)s)",
    )
    parser.add_argument(
        "--stage2",
        default="--dense --epochs 10 --learning_rate 0.1 --lr_schedule onecycle",
        metavar="OPTIONS",
        help="of all students (default: %(default)s)",
    )
    parser.add_argument(
        "--common",
        default="--robust_train_mode kl+ce+advce --distill kd",
        metavar="OPTIONS",
        help="of both stages (default: %(default)s)",
    )
    parser.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    parser.add_argument("--save_dir", default="save", metavar="DIR", help="default: save")
    parser.add_argument("--measure", action="store_true", help="private inference over the emulated link, at the end")
    parser.add_argument("--dry_run", action="store_true", help="print the commands, and run none")
    return parser.parse_args(argv)


def in_relus(budgets: list[int | str], sensitivities: Path) -> list[Student]:
    """The last of them share the last budget out by what was measured."""
    found: list[Student] = []
    for budget, search, granularity in product(budgets, searches(), ("position", "channel")):
        options = ["--relu_budget", str(budget), "--mask_search", search, "--mask_granularity", granularity]
        found.append(Student(name_of(budget, search, granularity), tuple(options)))
    for method in METHODS:
        options = ["--relu_budget", str(budgets[-1]), "--layer_sensitivity", f"{sensitivities}/{method}.yaml"]
        found.append(Student(name_of(budgets[-1], method), tuple(options)))
    return found


def in_seconds(seconds: list[float], sensitivities: Path, link: str) -> list[Student]:
    options = ("--network", link, "--layer_sensitivity", f"{sensitivities}/linearize.yaml")
    return [Student(f"{budget:.2f}s", ("--seconds_budget", f"{budget:.2f}", *options)) for budget in seconds]


def name_of(budget: int | str, *more: str) -> str:
    return "_".join([str(budget).replace("%", "pct"), *more])


def commands(plan: Comparison, found: list[Student], budget: int | str) -> list[list[str]]:
    """Every step, in order; `budget`: what the measured sensitivities share out."""
    steps = []
    for method in METHODS:
        about = ["--model", plan.model, "--path", str(plan.teacher), "--relu_budget", str(budget)]
        out = ["--method", method, "--out", f"{plan.sensitivities}/{method}.yaml"]
        steps.append(["compute_sensitivity.py", *about, *out, *plan.place, *plan.sensitivity])
    for student in found:
        common = ["--path_t", str(plan.teacher), "--run_name", f"bench_{student.name}", "--resume", "auto"]
        common += [*plan.common, *plan.place]
        steps.append(["train_student_stage1_multigpu.py", *student.budget, *common, *plan.stage1])
        load = ["--path_s_load", str(plan.best_file(student, stage=1))]
        steps.append(["train_student_stage2_multigpu.py", *load, *common, *plan.stage2])
    return steps


def measurement(plan: Comparison, rivals: list[Student], link: Network) -> list[str]:
    paths = [str(plan.best_file(student, stage=2)) for student in rivals]
    return ["measure_private_inference.py", "--path", *paths, "--network", link.name, "--emulate", *plan.place]


def results(plan: Comparison, found: list[Student], prices: ReluPrices, link: Network) -> str:
    """A row a student whose stage 2 is finished; seconds are estimated."""
    rows = [["student", "ReLUs", "open layers", "seconds", "of ReLUs", "CA", "AdvA"]]
    linear = prices.linear_seconds(link)
    for student in found:
        file = run_folder(plan.save_dir, 2, f"bench_{student.name}") / "results.json"
        if file.is_file():
            told = read_results(file)
            kept = [layer.kept for layer in told.relus.layers]
            seconds = prices.seconds(kept, link)
            cost = [f"{sum(kept):,}", str(sum(count > 0 for count in kept))]
            cost += [f"{seconds:.2f}", f"{seconds - linear:.2f}"]
            rows.append([student.name, *cost, *(percent(getattr(told.oracle, metric)) for metric in ("CA", "AdvA"))])
    return table(rows)


def main(args: argparse.Namespace) -> None:
    model, prices, seconds = priced(args.teacher, args.budgets[-1], args.network, args.shares)
    sensitivity, stage1, stage2 = (tuple(text.split()) for text in (args.sensitivity, args.stage1, args.stage2))
    runs = (sensitivity, stage1, stage2, tuple(args.common.split()))
    plan = Comparison(args.teacher, model, *runs, args.data_root, args.save_dir)
    timed = in_seconds(seconds, plan.sensitivities, args.network.name)
    found = in_relus(args.budgets, plan.sensitivities) + timed
    steps = commands(plan, found, args.budgets[-1])
    if args.measure:
        plain = name_of(args.budgets[-1], next(iter(searches())), "position")
        rivals = [student for student in found if student.name == plain]
        steps.append(measurement(plan, rivals + timed, args.network))
    for step in steps:
        print("python", *step, flush=True)
        if not args.dry_run and subprocess.run([sys.executable, *step], check=False).returncode:
            raise UserError(f"{step[0]} has failed; its own line says why. The same command goes on from there")
    if not args.dry_run:
        print(results(plan, found, prices, args.network))


def priced(teacher: Path, budget: int | str, link: Network, shares: list[float]) -> tuple[str, ReluPrices, list[float]]:
    """(the teacher's architecture, its prices, seconds whose ReLUs take these shares of what that budget's do)"""
    whole, checkpoint = load_model(teacher)
    model = architecture_of(checkpoint.model.name)
    prices = relu_prices(whole, load_constants().protocols["cheetah"], EngineSettings())
    plain = allocate_budget(whole, total_of(budget, whole), layer_sensitivities(model, whole))
    linear = prices.linear_seconds(link)
    return model, prices, [linear + share * (prices.seconds(plain, link) - linear) for share in shares]


if __name__ == "__main__":
    run_script(main, parse_args)
