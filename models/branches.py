"""Who takes which part of the batch, and through which batch-norm branch.

| branches | rows | branch |
|---|---|---|
| 1 | clean, aug and adv are all made from the whole batch | 0 |
| 2 | first half: clean and aug; second half: adv | clean, aug -> 0; adv -> 1 |
| 3, with aug | first third clean, second third aug, rest adv | 0, 1, 2 |
| 3, without aug | first half clean, second half adv | 0, 2 |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from helper.command_line import Parser
from helper.errors import UserError
from models.layers import Network


def add_branch_options(parser: Parser, *, inherited: bool = False) -> None:
    """`inherited`: without any of them the branches are those of a checkpoint, so that one branch must be asked for."""
    group = parser.add_argument_group("batch-norm branches").add_mutually_exclusive_group()
    if inherited:
        group.add_argument("--use1BN", action="store_true", help="one branch for all images, whatever the teacher has")
    group.add_argument(
        "--use2BN", action="store_true", help="one branch for clean and AugMix images, one for adversarial"
    )
    group.add_argument("--use3BN", action="store_true", help="a branch each for clean, AugMix and adversarial images")


def branch_count(*, use2BN: bool, use3BN: bool) -> int:
    return 3 if use3BN else 2 if use2BN else 1


@dataclass(frozen=True)
class View:
    """Rows of the batch that a view is made from, and the branch that normalises it."""

    rows: slice
    branch: int

    @property
    def size(self) -> int:
        return self.rows.stop - self.rows.start


def branch_of(view: str, branches: int) -> int:
    """The branch that a view takes in a network with `branches` branches."""
    return {"clean": 0, "aug": 1 if branches == 3 else 0, "adv": branches - 1}[view]


def trained_branch_of(view: str, branches: int, trained: Sequence[int]) -> int:
    """As `branch_of`, in a network of which `trained` branches are: the first of them where that of the view is not."""
    branch = branch_of(view, branches)
    return branch if branch in trained else trained[0]


def recorded_views(options: Mapping[str, object]) -> tuple[str, ...]:
    """The views that a run was trained on, from the options that its checkpoint records."""
    aug, adv = (options.get(name, "none") != "none" for name in ("augment_mode", "attack_mode"))
    return ("clean", *(["aug"] if aug else []), *(["adv"] if adv else []))


def branches_of(views: Sequence[str], branches: int) -> list[int]:
    """The branches that some view takes; the others are not trained."""
    return sorted({branch_of(view, branches) for view in views})


def check_branches(branches: int, views: Sequence[str]) -> None:
    """Raise UserError where the adversarial branch would never see an image."""
    if branches > 1 and "adv" not in views:
        raise UserError(
            f"--use{branches}BN keeps a branch for adversarial images, and this run makes none; "
            f"add --attack_mode pgd or leave --use{branches}BN out"
        )


def plan_views(views: Sequence[str], branches: int, batch: int) -> dict[str, View]:
    """The rows and branch of every view in use, for a batch of `batch` images."""
    if branches == 1:
        cuts = dict.fromkeys(views, (0, batch))
    elif branches == 3 and "aug" in views:
        third = batch // 3
        cuts = {"clean": (0, third), "aug": (third, 2 * third), "adv": (2 * third, batch)}
    else:
        half = batch // 2
        cuts = {"clean": (0, half), "aug": (0, half), "adv": (half, batch)}
    return {view: View(slice(*cuts[view]), branch_of(view, branches)) for view in views}


def begin_with(student: Network, teacher: Network) -> None:
    """Give the student its teacher's weights.

    Where the teacher has fewer branches, one of them answers for several of the student's.
    """
    places = (student.spec.branches, teacher.spec.branches)
    source = {branch_of(view, places[0]): branch_of(view, places[1]) for view in ("clean", "aug", "adv")}
    weights = teacher.state_dict()

    def taken(key: str) -> str:
        return re.sub(r"(?<=\.branches\.)\d+", lambda branch: str(source[int(branch[0])]), key)

    student.load_state_dict({key: weights[taken(key)] for key in student.state_dict()})
