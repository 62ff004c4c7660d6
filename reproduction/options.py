"""The command line of what carries out configurations: where things lie, and for how long it may work."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from helper.command_line import Parser, thread_count
from helper.files import real_path
from reproduction.steps import Place

UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class Work:
    """`dry_run`: only say what is left. `time_budget`: stop at a checkpoint before so many seconds have passed."""

    place: Place
    dry_run: bool = False
    time_budget: float | None = None
    threads: int | None = None


def time_span(text: str) -> float:
    """'150m', '2.5h', '90s' -> seconds"""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}' is no duration; write 90s, 150m or 2.5h")
    return float(found[1]) * UNITS[found[2]]


def add_work_options(parser: Parser) -> None:
    group = parser.add_argument_group("work")
    group.add_argument(
        "--dry_run", action="store_true", help="say what is left, and how long it will take here; run nothing"
    )
    group.add_argument(
        "--time_budget",
        type=time_span,
        metavar="TIME",
        help="stop at a checkpoint before so much time has passed: 90s, 150m, 2.5h (default: when all is done)",
    )
    group.add_argument(
        "--threads",
        type=thread_count,
        metavar="N",
        help="of every step: 1 where others want the cores too (default: one for each core that this process has)",
    )
    group.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    group.add_argument("--frost_dir", metavar="DIR", help="the benchmark's frost photographs (default: drawn frost)")
    group.add_argument("--no_download", action="store_true", help="never fetch a missing data set")


def settle_work(args: argparse.Namespace, name: str) -> Work:
    """What the options ask for, in the folder `name` of --save_dir."""
    frost = str(real_path(args.frost_dir)) if args.frost_dir else None
    data = str(real_path(Path(args.data_root).expanduser()))
    place = Place(real_path(Path(args.save_dir, name)), data, frost, not args.no_download)
    return Work(place, args.dry_run, args.time_budget, args.threads)
