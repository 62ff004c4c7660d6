"""Every field of a checkpoint, edited in many ways, and used as scripts use it: how many uses end in a traceback.

    python -m benchmarks.edited_files save/models/RUN/resnet8_best_TA0.0.pth
    python -m benchmarks.edited_files save/models/RUN/resnet8_last.pth --use "train_teacher.py ... --resume FILE"

Each use is a process of its own (of a system that can fork). FILE in --use stands for the edited copy.
"""

from __future__ import annotations

import argparse
import copy
import os
import runpy
import shlex
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from helper.script import run_script

import torch

from helper import command_line
from helper.checkpoint import read_file
from helper.files import Kind, read_bytes

USE = "export_model.py FILE --format npz --out OUT"
# Of tables of tensors only the first few entries are edited.
TENSORS, SHOWN = {"state_dict", "state", "network", "alphas", "sums", "kept", "gradients"}, 2
WAYS: dict[str, object] = {
    **{"none": None, "text": "x", "empty": "", "minus": -1, "zero": 0, "huge": 10**6, "big": 10**400, "true": True},
    **{"nan": float("nan"), "inf": float("inf"), "list": [5], "nothing": [], "table": {}, "nested": [[[[]]]]},
    **{"tensor": torch.zeros(3), "half": "\ud800", "up": "../x"},
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="a checkpoint that the use reads without an error")
    parser.add_argument("--use", default=USE, metavar="COMMAND", help=f"default: {USE}")
    parser.add_argument("--limit", type=command_line.positive, metavar="N", help="of the edits, evenly spaced")
    return parser.parse_args(argv)


def places(content: object, before: tuple = ()) -> Iterator[tuple]:
    """Where every value lies, from the outside in."""
    if before:
        yield before
    if isinstance(content, dict):
        keys = list(content)[: SHOWN if before and before[-1] in TENSORS else None]
        for key in keys:
            yield from places(content[key], (*before, key))


def edited(content: dict, place: tuple, way: str) -> dict:
    """A copy with the value at `place` removed, or another in its place; it shares the tensors."""
    *above, last = place
    found = parent = dict(content)
    for key in above:
        parent[key] = parent = copy.copy(parent[key])
    if way == "removed":
        del parent[last]
    else:
        parent[last] = WAYS[way]
    return found


def outcome(command: str, folder: Path) -> str:
    """How a process that is forked from this one, which has loaded torch, ends."""
    words = [word.replace("FILE", str(folder / "edited.pth")) for word in shlex.split(command)]
    words = [word.replace("OUT", str(folder / "out.npz")) for word in words]
    said = folder / "said.txt"
    if not (child := os.fork()):
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.argv = words
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as ended:
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text = read_bytes(said, Kind.TEXT).decode(errors="replace")
    if "Traceback" in text or "this should not happen" in text:
        return "traceback"
    return {0: "used", 2: "one line"}.get(status, f"status {status}")


def main(args: argparse.Namespace) -> None:
    content = read_file(args.file)
    assert isinstance(content, dict)
    every = [(place, way) for place in places(content) for way in ("removed", *WAYS)]
    chosen = every[:: max(1, len(every) // (args.limit or len(every)))]
    counts: Counter[str] = Counter()
    runpy.run_path(shlex.split(args.use)[0], run_name="loaded")  # here once, and not in every process
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for place, way in chosen:
            torch.save(edited(content, place, way), folder / "edited.pth")
            found = outcome(args.use, folder)
            counts[found] += 1
            if found not in ("used", "one line"):
                print(f"{'.'.join(map(str, place))}: {way}: {found}", flush=True)
    print(f"{len(chosen)} of {len(every)} edits: {dict(counts)}")


if __name__ == "__main__":
    run_script(main, parse_args)
