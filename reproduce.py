"""Reproduce a table of results: every training, evaluation and measurement of a configuration, in one command.

    python reproduce.py --config digits
    python reproduce.py --config cifar10_resnet20 --data_root data --threads 1 --time_budget 150m
    python reproduce.py --config cifar10_resnet20 --dry_run

For each round of reproduce/<config>.yaml: a teacher; for every budget a mask search, a fine-tuned student, and one
network without branches made of it; CA, NPA and PGD-20 of each; AutoAttack; private inference. Short rounds come first,
so that every row exists early. What is done is not done again: the same command goes on where the last one ended, in
the middle of a training too. Writes <save_dir>/<config>/ with all runs, report.html and results.md.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from helper.script import run_script

from helper import command_line
from helper.errors import UserError
from helper.files import lock_folder
from helper.text import duration
from private_inference.engine.parties import ENGINE_PYTHON
from reproduction.config import config_names, read_config
from reproduction.costs import estimate
from reproduction.ledger import Ledger
from reproduction.runner import ROOT, Runner
from reproduction.steps import Place, Row, Step, plan
from reproduction.table import put_into, results_table

UNITS = {"s": 1, "m": 60, "h": 3600}


def time_budget(text: str) -> float:
    """'150m', '2.5h', '90s' -> seconds"""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration; write 90s, 150m or 2.5h")
    return float(found[1]) * UNITS[found[2]]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "--config", required=True, metavar="NAME", help=f"{', '.join(config_names())}, or a .yaml file like those"
    )
    parser.add_argument("--rounds", nargs="+", metavar="NAME", help="only these rounds of it (default: all, in order)")
    parser.add_argument(
        "--dry_run", action="store_true", help="say what is left, and how long it will take here; run nothing"
    )
    parser.add_argument(
        "--time_budget",
        type=time_budget,
        metavar="TIME",
        help="stop at a checkpoint before so much time has passed: 90s, 150m, 2.5h (default: when all is done)",
    )
    parser.add_argument(
        "--threads",
        type=command_line.thread_count,
        metavar="N",
        help="of every step: 1 where others want the cores too (default: one for each core that this process has)",
    )
    parser.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    parser.add_argument("--frost_dir", metavar="DIR", help="the benchmark's frost photographs (default: drawn frost)")
    parser.add_argument("--no_download", action="store_true", help="never fetch a missing data set")
    parser.add_argument(
        "--save_dir", default="save/reproduce", metavar="DIR", help="default: save/reproduce; each config has a folder"
    )
    parser.add_argument(
        "--publish", type=Path, metavar="FILE", help="write the table into this Markdown file too: docs/results.md"
    )
    return parser.parse_args(argv)


def chosen_rounds(asked: list[str] | None, known: list[str], config: str) -> list[str]:
    for name in asked or ():
        if name not in known:
            raise UserError(f"--rounds {name}: {config} has {', '.join(known)}")
    return asked or known


def can_run(step: Step) -> bool:
    return step.kind != "private" or ENGINE_PYTHON.exists()


def print_plan(steps: list[Step], seconds: dict[str, float | None], ledger: Ledger) -> None:
    for step in steps:
        left = seconds[step.name]
        state = "done" if ledger.is_done(step) else "unknown" if left is None else duration(left)
        print(f"{step.name:<44} {state}")
    unknown = sum(left is None for left in seconds.values())
    total = duration(sum(left or 0 for left in seconds.values()))
    print(f"left: {total}" + (f", and {unknown} steps of kinds that were never run here" if unknown else ""))


def write_tables(publish: Path | None, save: Path, config, rows: list[Row], ledger: Ledger) -> None:
    text = results_table(config, rows, ledger)
    put_into(save / "results.md", config.name, text)
    if publish:
        put_into(publish, config.name, text)
    measured = [
        str(step.marker)
        for row in rows
        for kind, step in row.measurements.items()
        if kind == "evaluation" and ledger.is_done(step)
    ]
    if measured:
        page = save / "report.html"
        subprocess.run([sys.executable, "report.py", *measured, "--out", str(page)], cwd=ROOT, check=False)
    print(f"\n{text}\n\nwritten to {save / 'results.md'}")


def main(args: argparse.Namespace) -> None:
    config = read_config(args.config)
    save = Path(args.save_dir, config.name).resolve()
    frost = str(Path(args.frost_dir).resolve()) if args.frost_dir else None
    place = Place(save, str(Path(args.data_root).expanduser().resolve()), frost, not args.no_download)
    steps, rows = plan(config, place, chosen_rounds(args.rounds, [one.name for one in config.rounds], args.config))
    ledger = Ledger(save / "steps.json")
    if args.dry_run:
        print_plan(steps, estimate(steps, ledger, config, place, args.threads), ledger)
        return

    lock = lock_folder(save)  # held while this process lives
    runner = Runner(ledger, args.time_budget, args.threads)
    without_engine = [step for step in steps if not can_run(step)]
    if without_engine:
        print(f"note: {len(without_engine)} measurements of private inference are left out: run `make pi` first")
    left = [step for step in steps if can_run(step) and not ledger.is_done(step)]
    for number, step in enumerate(left, start=1):
        if runner.stopping:
            break
        print(f"\n[{number}/{len(left)}] {step.name}\n$ python {' '.join(step.command)}", flush=True)
        runner.run(step)
    if any(ledger.is_done(step) for step in steps):
        write_tables(args.publish, save, config, rows, ledger)
    waiting = [step.name for step in steps if not ledger.is_done(step)]
    print(f"{len(waiting)} steps are left; the same command goes on" if waiting else "all steps are done")
    del lock


if __name__ == "__main__":
    run_script(main, parse_args)
