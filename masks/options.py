"""The command line of the mask search, and what it says, settled."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from helper.command_line import CHECKPOINT, Parser, checkpoint_file, number, positive
from helper.errors import UserError
from masks.search import SCHEDULES, Course, MaskSearch, searches
from masks.selection import GRANULARITIES, MaskChooser
from models.layers import Network, relu_sites
from models.restore import load_model


@dataclass(frozen=True)
class SearchPlan:
    """A mask search that was chosen. `own`: names and values of the settings that this search alone has.

    The last `freeze_epochs` train under a frozen mask; `course.epochs`, those before, may be 0.
    """

    name: str
    own: tuple[tuple[str, object], ...]
    course: Course
    freeze_epochs: int
    granularity: str = "position"
    shared: bool = False
    mask_from: Path | None = None

    @property
    def label(self) -> str:
        """What is added to the budget's name, for all but the default search of positions: '_snl_channel'."""
        parts = [self.name, self.granularity]
        return "".join(f"_{part}" for part in parts if part not in (next(iter(searches())), GRANULARITIES[0]))

    @cached_property
    def parent(self) -> Network | None:
        """The network whose masks those of the search are subsets of; its file is read once."""
        return load_model(self.mask_from)[0] if self.mask_from else None

    def available(self, student: Network) -> list[int] | None:
        """The ReLUs per layer that the network of --mask_from has. Raises UserError where it is none like `student`."""
        if self.parent is None:
            return None
        networks = (student, self.parent)
        shapes, given = ([site.map_shape for site in relu_sites(network).values()] for network in networks)
        if shapes != given:
            raise UserError(f"--mask_from {self.mask_from}: its ReLU layers are not those of the student")
        return [site.kept for site in relu_sites(self.parent).values()]

    def first_masks(self, student: nn.Module, budget: Sequence[int], seed: int) -> MaskChooser:
        """Set the student's masks at random, for as many ReLUs as the search begins with; what chooses all others."""
        parent = self.parent
        chooser = MaskChooser(
            budget,
            self.granularity,
            shared=self.shared,
            parent={name: site.mask for name, site in relu_sites(parent).items()} if parent else None,
        )
        chooser.set_random_masks(student, seed, self.course.spare(0))
        return chooser

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
        "--mask_granularity",
        choices=GRANULARITIES,
        default=GRANULARITIES[0],
        help="what a mask keeps or drops as a whole; budgets are met to the nearest of these (default: position)",
    )
    search_shares = ", ".join(entry.name for entry in entries.values() if entry.shares == "search")
    group.add_argument(
        "--budget_shares",
        choices=("profile", "search"),
        help="what each layer keeps is fixed beforehand, by --sensitivity or the sensitivity profile, or is up to the "
        "search, which then ranks across layers; layers as a whole are always ranked (default: profile; for "
        f"{search_shares} with --relu_budget: search)",
    )
    group.add_argument(
        "--budget_schedule",
        choices=SCHEDULES,
        help="once: the masks meet the budget from the first on; cosine: it is lowered to that over the epochs of the "
        "search (default: what the search was published with)",
    )
    group.add_argument(
        "--mask_from",
        type=checkpoint_file,
        metavar=CHECKPOINT,
        help="begin with the finished masks of this network of a larger budget: only what it keeps may be kept",
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

    Whole layers have no shares: they are ranked across the network, but for a budget in seconds, which names them.
    Raises UserError for what does not go together.
    """
    entry = searches()[args.mask_search]
    own = entry.settle(vars(args), views)
    frozen = args.mask_freeze_epochs or max(1, round(0.1 * args.epochs))
    schedule = args.budget_schedule or entry.schedules[0]
    if schedule not in entry.schedules:
        raise UserError(
            f"--budget_schedule {schedule}: {entry.name} lowers the number of ReLUs by itself; leave it out"
        )
    if args.mask_granularity == "layer" and args.budget_shares == "profile":
        raise UserError("--budget_shares profile: a layer as a whole has no share; use --budget_shares search")
    ranks = args.sensitivity is None and args.seconds_budget is None  # else each layer's share is given
    shares = args.budget_shares or (entry.shares if ranks else "profile")
    shared = shares == "search" or (args.mask_granularity == "layer" and args.seconds_budget is None)
    course = Course(max(0, args.epochs - frozen), args.mask_patience, args.mask_patience_tol, schedule)
    return SearchPlan(entry.name, tuple(own.items()), course, frozen, args.mask_granularity, shared, args.mask_from)
