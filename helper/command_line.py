"""The command line, in groups that the scripts share."""

from __future__ import annotations

from helper.script import DEBUG, leave_with

import argparse
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import NoReturn

from helper.run_folder import LONGEST, find_by_long_name
from helper.zoo import PREFIX, local_file

CHECKPOINT = f"FILE|{PREFIX}NAME"  # what `checkpoint_file` takes
LARGEST = 2**31 - 1  # of numbers: whatever is above is a slip of the keyboard
MOST_POINTS = 1000  # more than a figure shows
MOST_WORKERS = 1024  # and threads: more than a machine starts


class Debug(argparse.Action):
    """In the environment, not among the options: it changes nothing that is computed, and holds for what we start."""

    def __call__(self, *_: object) -> None:
        os.environ[DEBUG] = "1"


class Parser(argparse.ArgumentParser):
    """Defaults in the help, no abbreviated options, and one line on stderr for a wrong one.

    `first`: the options that people change first, which --help puts before all groups.
    `presets`: name -> {option: value}, what --preset puts in the place of defaults. `dependent`: functions of what was
    parsed that return more of these, one after the other, and raise ArgumentTypeError for values at odds. Options that
    are given win.
    """

    def __init__(self, description: str):
        super().__init__(
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.first: tuple[str, ...] = ()
        self.add_argument(
            "--debug",
            action=Debug,
            nargs=0,
            dest=argparse.SUPPRESS,
            default=argparse.SUPPRESS,
            help="where something unexpected happens, print its traceback instead of keeping it in a file",
        )
        self.presets: dict[str, dict[str, object]] = {}
        self.dependent: list[Callable[[argparse.Namespace], Mapping[str, object]]] = []

    def parse_args(self, argv: Sequence[str] | None = None) -> argparse.Namespace:  # type: ignore[override]
        self.check_words(sys.argv[1:] if argv is None else argv)
        args = super().parse_args(argv)
        try:
            for defaults in self.dependent:
                self.set_defaults(**defaults(args))
                args = super().parse_args(argv)
        except argparse.ArgumentTypeError as error:
            self.error(str(error))
        if preset := self.presets.get(getattr(args, "preset", None) or ""):
            self.set_defaults(**preset)
            args = super().parse_args(argv)
        return args

    def format_help(self) -> str:
        """As argparse has it, but with what must be given alone in the usage, and with `first` before the groups."""
        formatter = self.formatter_class(prog=f"{self.prog} [options]")
        alternatives = [group for group in self._mutually_exclusive_groups if group.required]
        either = {id(action) for group in alternatives for action in group._group_actions}
        needed = [action for action in self._actions if action.required or id(action) in either]
        formatter.add_usage(self.usage, needed, alternatives)
        formatter.add_text(reflowed(self.description or ""))
        known = {action.dest: action for action in self._actions}
        first = [known[name] for name in self.first]
        sections = [("what people change first", first)] if first else []
        for group in self._action_groups:
            sections.append((group.title or "", [action for action in group._group_actions if action not in first]))
        for title, actions in sections:
            formatter.start_section(title)
            formatter.add_arguments(actions)
            formatter.end_section()
        formatter.add_text(reflowed(self.epilog or ""))
        return formatter.format_help()

    def check_words(self, words: Sequence[str]) -> None:
        """End where a word cannot be written into a file, or is one that argparse itself stumbles over."""
        for word in words:
            if word != word.encode("utf-8", "replace").decode():
                self.error(f"{word!a} is not UTF-8; give it, or the file of that name, another name")
            if word.startswith("-") and word.endswith("=--"):
                self.error(f"{word}: '--' is no value")

    def error(self, message: str) -> NoReturn:
        leave_with(f"{message} (--help explains the options)")


def reflowed(text: str) -> str:
    """Paragraphs as wide as the terminal; what is indented, commands and tables, stays as it is."""
    width = min(shutil.get_terminal_size().columns, 120) - 2
    lines: list[str] = []
    for stays, found in groupby(text.splitlines(), key=lambda line: not line or line.startswith(" ")):
        block = list(found)
        lines += block if stays else textwrap.wrap(" ".join(block), width, break_on_hyphens=False)
    return "\n".join(lines)


def exact(text: str) -> Fraction:
    """'8/255', '0.03' or '1e-3'; raises ValueError for another text, and for a number that no float comes near."""
    if re.search(r"e[-+]?\d{3}", text, re.IGNORECASE):  # Fraction('1e999999999') has a billion digits
        raise ValueError(text)
    try:
        value = Fraction(text)
        float(value)
    except (ZeroDivisionError, OverflowError) as error:
        raise ValueError(text) from error
    return value


def pixels(text: str) -> float:
    """'8/255' or '0.03', in units of the pixel range."""
    value = float(exact(text))
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie in [0, 1]; write 8/255 or 0.0314")
    return value


def whole(text: str, most: int = LARGEST) -> int:
    value = int(text)
    if value > most:
        raise argparse.ArgumentTypeError(f"{text} is above {most:,}")
    return value


def positive(text: str, most: int = LARGEST) -> int:
    value = whole(text, most)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return value


def not_negative(text: str, most: int = LARGEST) -> int:
    value = whole(text, most)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def worker_count(text: str) -> int:
    """Of processes beside this one, which may be none."""
    return not_negative(text, MOST_WORKERS)


def thread_count(text: str) -> int:
    return positive(text, MOST_WORKERS)


def point_count(text: str) -> int:
    """Of a curve, each of which is computed."""
    return positive(text, MOST_POINTS)


def seed(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    if value >= 2**32:  # the attack's noise is drawn from 32 bits of it
        raise argparse.ArgumentTypeError(f"{text} is not below 2**32")
    return value


def number(text: str) -> float:
    """A weight or a rate: not negative, and no slip of the keyboard."""
    value = float(text)
    if not 0 <= value <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to {LARGEST:,}")
    return value


def share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie in [0, 1]")
    return value


def decay(text: str) -> float:
    value = number(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text} is not below 1; 0.999 averages over about 1,000 steps")
    return value


def epoch_list(text: str) -> list[float]:
    """'150,180,210'; an empty text is no epoch at all."""
    return [number(part) for part in text.split(",") if part.strip()]


def folder_name(text: str) -> str:
    """One name: a path could name, and so move aside, a folder that is no run."""
    if Path(text).name != text or text == "..":
        raise argparse.ArgumentTypeError(f"'{text}' is not the name of a folder; --save_dir says where it lies")
    return text


def checkpoint_file(text: str) -> Path:
    """A path, or the 'zoo:NAME' of a network that comes with the repository, which stands for the path of its file.

    A path through a run's long name (--long_names) also finds the run that goes by its short one.
    """
    return find_by_long_name(local_file(text))


# argparse names the type in its error line
for kind in (positive, not_negative, worker_count, thread_count, point_count, seed):
    kind.__name__ = "whole number"
pixels.__name__, epoch_list.__name__ = "fraction", "list of epochs"


def add_checkpoint(parser: Parser, which: str) -> None:
    """The checkpoint that a script is about, `which` it may be."""
    parser.add_argument("checkpoint", type=checkpoint_file, metavar="CHECKPOINT", help=f"{which}: {CHECKPOINT}")


def add_run_options(parser: Parser, *, evaluates: bool = False) -> None:
    group = parser.add_argument_group("run")
    group.add_argument("--save_dir", default="save", metavar="DIR", help="where runs are written (default: save)")
    group.add_argument(
        "--run_name",
        type=folder_name,
        metavar="NAME",
        help=f"name of this run's folder (default: built from the options, of at most {LONGEST} characters)",
    )
    group.add_argument(
        "--long_names",
        action="store_true",
        help="build the default name in full, as published: S:CustomResNet18_T1:ResNet18_cifar10_... A run that has "
        "such a name is found by either",
    )
    group.add_argument(
        "--resume",
        metavar="auto|FILE",
        help="auto, as without it: go on with what is measured already; FILE: with the measurements in FILE"
        if evaluates
        else "auto: go on from this run's last checkpoint, if there is one; FILE: with the run of that *_last.pth. "
        "Without --resume an earlier run of the same name is moved aside, never overwritten",
    )
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU where there is one"
    )
    group.add_argument("--seed", type=seed, default=0, help="of weights, masks, order, augmentation, attack starts")
    hidden = argparse.SUPPRESS if evaluates else None  # taken by every script, so that commands may share them
    group.add_argument(
        "--print_freq", type=positive, default=10, metavar="N", help=hidden or "renew the bar's figures every N steps"
    )
    group.add_argument(
        "--save_freq",
        type=positive,
        default=1000,
        metavar="N",
        help=hidden or "a checkpoint every N steps within an epoch too",
    )
    group.add_argument("--local-rank", "--local_rank", type=int, help=argparse.SUPPRESS)  # torch.distributed.launch's
