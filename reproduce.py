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

from helper.script import run_script

import argparse
from pathlib import Path

from helper import command_line
from helper.errors import UserError
from reproduction.carry_out import carry_out
from reproduction.config import config_names, read_config
from reproduction.options import add_work_options, settle_work


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "--config", required=True, metavar="NAME", help=f"{', '.join(config_names())}, or a .yaml file like those"
    )
    parser.add_argument("--rounds", nargs="+", metavar="NAME", help="only these rounds of it (default: all, in order)")
    add_work_options(parser)
    parser.add_argument(
        "--save_dir", default="save/reproduce", metavar="DIR", help="default: save/reproduce; each config has a folder"
    )
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="FILE",
        help="write the table into this Markdown file too, beside the rows of other runs: docs/results.md",
    )
    return parser.parse_args(argv)


def chosen_rounds(asked: list[str] | None, known: list[str], config: str) -> list[str]:
    for name in asked or ():
        if name not in known:
            raise UserError(f"--rounds {name}: {config} has {', '.join(known)}")
    return asked or known


def main(args: argparse.Namespace) -> None:
    config = read_config(args.config)
    rounds = chosen_rounds(args.rounds, [one.name for one in config.rounds], args.config)
    carry_out(config, settle_work(args, config.name), rounds, publish=args.publish)


if __name__ == "__main__":
    run_script(main, parse_args)
