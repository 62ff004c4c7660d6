"""Edited files of every kind, used as scripts use them: how many uses end in a traceback, hang, or take gigabytes.

    python -m benchmarks.edited_files                       every kind; the intact files are made first, in minutes
    python -m benchmarks.edited_files --kinds budget log --limit 50
    python -m benchmarks.edited_files --file resnet8_best.pth --use "export_model.py FILE --format npz --out OUT"

Each use is a process of its own, forked from one that has loaded torch (so not on Windows). In --use FILE stands for
the edited copy, HERE for its folder, OUT for a path where nothing lies. Exit status 1 where one did not end well.
"""

from __future__ import annotations

from helper.script import leave, run_script

import argparse
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.edited_kinds import KINDS, Example, preload, run_to_the_end
from benchmarks.edits import Edit, edits
from helper import command_line
from helper.errors import UserError
from helper.files import Kind, read_bytes

SECONDS, MEMORY = 120, 2 * 2**30  # that a use may take; memory beyond that of the one that took least
WELL = ("used", "one line")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="default: all")
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="this one instead, which --use reads without an error"
    )
    parser.add_argument("--use", metavar="COMMAND", help="of --file")
    parser.add_argument("--limit", type=command_line.positive, metavar="N", help="edits of a kind, evenly spaced")
    return parser.parse_args(argv)


@dataclass
class Tally:
    """How the uses of a kind ended, and what they took: `memory` in bytes, of each."""

    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    memory: list[int] = field(default_factory=list)

    def words(self) -> str:
        more = (max(self.memory) - min(self.memory)) / 2**20
        ends = ", ".join(f"{count} {end}" for end, count in self.ends.most_common())
        return f"{self.ends.total()} edits: {ends}; the slowest {self.seconds:.1f} s, {more:.0f} MiB more at most"


def outcome(example: Example, edit: Edit, tally: Tally) -> str:
    """How the use of an edited copy ends."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "edited")
        shutil.copytree(example.folder, folder, symlinks=True)
        file = folder / example.file
        file.unlink()
        try:
            edit[1](file)
        except (UnicodeEncodeError, OverflowError, ValueError):  # what no writer would write either
            return "never written"
        said = Path(name, "said.txt")
        ended = run_to_the_end(example.use, file, said, SECONDS)
        text = read_bytes(said, Kind.TEXT).decode(errors="replace")
    tally.seconds = max(tally.seconds, ended.seconds)
    tally.memory.append(ended.memory)
    if "Traceback" in text or "this should not happen" in text:
        return f"traceback ({text.strip().splitlines()[-1][:200]})"
    if ended.memory - min(tally.memory) > MEMORY:
        return "gigabytes"
    return {0: "used", 2: "one line", 1: "differs"}.get(ended.status, f"status {ended.status}")


def tally_of(name: str, example: Example, limit: int | None) -> Tally:
    every = list(edits(example.folder / example.file)) if example.edits is None else list(example.edits)
    tally = Tally()
    whole = example.folder / example.file
    if (found := outcome(example, ("intact", partial(shutil.copy, whole)), tally)) != "used":
        raise UserError(f"{name}: {whole} itself ends as an edited file may: {found}")
    for edit in every[:: max(1, len(every) // (limit or len(every)))]:
        found = outcome(example, edit, tally)
        if found == "never written":
            continue
        tally.ends[found.partition(" (")[0]] += 1
        if found not in WELL:
            print(f"  {name}: {edit[0]}: {found}", flush=True)
    return tally


def main(args: argparse.Namespace) -> None:
    preload()
    bad = 0
    with tempfile.TemporaryDirectory() as made:
        for name in ["file"] if args.file else args.kinds:
            example = Example(args.file.parent, args.file.name, args.use) if args.file else KINDS[name](Path(made))
            tally = tally_of(name, example, args.limit)
            bad += sum(count for end, count in tally.ends.items() if end not in WELL)
            print(f"{name}: {tally.words()}", flush=True)
    leave(1 if bad else 0)


if __name__ == "__main__":
    run_script(main, parse_args)
