"""Searches, granularities and ways to share a budget out, from one teacher, with equal epochs and one seed.

    python -m benchmarks.bench_budgets --teacher zoo:cifar10_resnet20_teacher_24 --data_root data --dry_run
    python -m benchmarks.bench_budgets --teacher zoo:cifar10_resnet20_teacher_24 --data_root data --measure

For each of --budgets: every search by position and by channel, shared out as each does by itself; the default search
with what compute_sensitivity.py measures, linearized and pruned, in the place of the profile. And one student of a
budget in seconds: those of private inference over --network with the last of --budgets shared out by the profile.
--measure runs that one and its rival over the emulated link (root, make pi). Every step is a command of the scripts,
printed before it runs; a finished one is not run again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from helper.script import run_script

from helper import command_line
from helper.errors import UserError
from helper.run_folder import run_folder
from helper.text import percent, table
from masks.allocation import allocate_budget, layer_sensitivities, relu_count, total_of
from masks.search import searches
from models import architecture_of, student_name
from models.restore import load_model
from private_inference.costs.estimate import load_constants
from private_inference.costs.link import network
from private_inference.costs.options import LINK
from private_inference.costs.prices import ReluPrices, relu_prices
from private_inference.engine.protocols import EngineSettings
from reporting.results import read_results
from training.naming import checkpoint_stem

METHODS, SECONDS = ("linearize", "prune"), "seconds"


@dataclass(frozen=True)
class Student:
    """`budget`: the options of stage 1 that say how many ReLUs it keeps, and how they are found."""

    name: str
    budget: tuple[str, ...]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--teacher", required=True, type=command_line.checkpoint_file, metavar=command_line.CHECKPOINT)
    parser.add_argument(
        "--budgets", nargs="+", type=relu_count, default=["25%", "9%"], metavar="N", help="default: 25%% 9%%"
    )
    parser.add_argument("--network", type=network, default=network("wan"), metavar=LINK, help="default: wan")
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


def students(budgets: list[int | str], folder: Path, seconds: float, link: str) -> list[Student]:
    """`folder`: where the measured sensitivities lie."""
    found: list[Student] = []
    options: tuple[str, ...]
    for budget in budgets:
        count, label = str(budget), label_of(budget)
        for search, granularity in product(searches(), ("position", "channel")):
            options = ("--relu_budget", count, "--mask_search", search, "--mask_granularity", granularity)
            found.append(Student(f"{label}_{search}_{granularity}", options))
        for method in METHODS:
            options = ("--relu_budget", count, "--layer_sensitivity", f"{folder}/{method}.yaml")
            found.append(Student(f"{label}_{method}", options))
    options = ("--seconds_budget", f"{seconds:.6g}", "--network", link)
    return [*found, Student(SECONDS, (*options, "--layer_sensitivity", f"{folder}/linearize.yaml"))]


def label_of(budget: int | str) -> str:
    return str(budget).replace("%", "pct")


def commands(args: argparse.Namespace, found: list[Student], folder: Path, model: str) -> list[list[str]]:
    """Every step, in order."""
    place, last = ["--save_dir", args.save_dir, "--data_root", args.data_root], label_of(args.budgets[-1])
    steps = []
    for method in METHODS:
        about = ["--model", model, "--path", str(args.teacher), "--relu_budget", str(args.budgets[-1])]
        out = ["--method", method, "--out", f"{folder}/{method}.yaml"]
        steps.append(["compute_sensitivity.py", *about, *out, *place])
    for student in found:
        common = ["--path_t", str(args.teacher), "--run_name", f"bench_{student.name}", "--resume", "auto"]
        common += [*args.common.split(), *place]
        steps.append(["train_student_stage1_multigpu.py", *student.budget, *common, *args.stage1.split()])
        load = ["--path_s_load", str(best_file(args, student, model, stage=1))]
        steps.append(["train_student_stage2_multigpu.py", *load, *common, *args.stage2.split()])
    if args.measure:
        rivals = f"{last}_{next(iter(searches()))}_position", SECONDS
        paths = [str(best_file(args, student, model, stage=2)) for student in found if student.name in rivals]
        link = ["--network", args.network.name, "--emulate"]
        steps.append(["measure_private_inference.py", "--path", *paths, *link, *place])
    return steps


def best_file(args: argparse.Namespace, student: Student, model: str, stage: int) -> Path:
    """The raw weights that its run selects by clean accuracy, of an attacked run."""
    stem = checkpoint_stem(student_name(model), stage, attacked=True)
    return run_folder(args.save_dir, stage, f"bench_{student.name}") / f"{stem}_best_TA0.0.pth"


def results(args: argparse.Namespace, found: list[Student], prices: ReluPrices) -> str:
    """A row a student whose stage 2 is finished; seconds are estimated."""
    rows = [["student", "ReLUs", "open layers", "seconds", "of ReLUs", "CA", "AdvA"]]
    linear = prices.linear_seconds(args.network)
    for student in found:
        file = run_folder(args.save_dir, 2, f"bench_{student.name}") / "results.json"
        if file.is_file():
            told = read_results(file)
            kept = [layer.kept for layer in told.relus.layers]
            seconds = prices.seconds(kept, args.network)
            cost = [f"{sum(kept):,}", str(sum(count > 0 for count in kept))]
            cost += [f"{seconds:.2f}", f"{seconds - linear:.2f}"]
            rows.append([student.name, *cost, *(percent(getattr(told.oracle, metric)) for metric in ("CA", "AdvA"))])
    return table(rows)


def main(args: argparse.Namespace) -> None:
    model, prices, seconds = priced(args)
    folder = Path(args.save_dir, "sensitivity", "bench")
    found = students(args.budgets, folder, seconds, args.network.name)
    for step in commands(args, found, folder, model):
        print("python", *step, flush=True)
        if not args.dry_run and subprocess.run([sys.executable, *step], check=False).returncode:
            raise UserError(f"{step[0]} has failed; its own line says why. The same command goes on from there")
    if not args.dry_run:
        print(results(args, found, prices))


def priced(args: argparse.Namespace) -> tuple[str, ReluPrices, float]:
    """(the teacher's architecture, its prices, the seconds of the last budget as the profile shares it out)"""
    whole, checkpoint = load_model(args.teacher)
    model = architecture_of(checkpoint.model.name)
    prices = relu_prices(whole, load_constants().protocols["cheetah"], EngineSettings())
    plain = allocate_budget(whole, total_of(args.budgets[-1], whole), layer_sensitivities(model, whole))
    return model, prices, prices.seconds(plain, args.network)


if __name__ == "__main__":
    run_script(main, parse_args)
