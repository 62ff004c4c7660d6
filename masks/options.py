"""The command line of the mask search, and what it says, settled."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from helper.command_line import Parser, number, positive
from masks.search import Course, MaskSearch, searches
from masks.selection import MaskChooser


@dataclass(frozen=True)
class SearchPlan:
    """A mask search that was chosen. `own`: names and values of the settings that this search alone has.

    The last `freeze_epochs` train under a frozen mask; `course.epochs`, those before, may be 0.
    """

    name: str
    own: tuple[tuple[str, object], ...]
    course: Course
    freeze_epochs: int

    def build(self, student: nn.Module, chooser: MaskChooser) -> MaskSearch:
        """The search, on a student that lies where it will be trained."""
        return searches()[self.name].search(student, chooser, self.course, **dict(self.own))


def add_search_options(parser: Parser) -> None:
    group = parser.add_argument_group("mask search")
    entries = searches()
    default = next(iter(entries))
    kinds = "; ".join(f"{entry.name}, {entry.summary}" for entry in entries.values())
    group.add_argument(
        "--mask_search", choices=entries, default=default, help=f"how masks are found: {kinds} (default: {default})"
    )
    group.add_argument(
        "--mask_freeze_epochs",
        type=positive,
        metavar="N",
        help="train the last N epochs under a frozen mask (default: a tenth of the epochs, at least 1)",
    )
    group.add_argument(
        "--mask_patience_tol",
        type=number,
        default=0.001,
        metavar="D",
        help="freeze the mask earlier when less than this share of its positions changes ... (default: 0.001)",
    )
    group.add_argument(
        "--mask_patience", type=positive, default=5, metavar="N", help="... N epochs in a row (default: 5)"
    )
    for entry in entries.values():
        entry.add_options(parser.add_argument_group(f"mask search {entry.name}"))


def search_defaults() -> dict[str, object]:
    """What the options of a run of before there were any of these would have been."""
    parser = Parser("")
    add_search_options(parser)
    return vars(parser.parse_args([]))


def settle_search(args: argparse.Namespace, views: Sequence[str]) -> SearchPlan:
    """The search that --mask_search and the options beside it name, in a run of --epochs that trains on `views`.

    Raises UserError where it looks at another view.
    """
    entry = searches()[args.mask_search]
    own = entry.settle(args, views)
    frozen = args.mask_freeze_epochs or max(1, round(0.1 * args.epochs))
    course = Course(max(0, args.epochs - frozen), args.mask_patience, args.mask_patience_tol)
    return SearchPlan(entry.name, tuple(own.items()), course, frozen)
