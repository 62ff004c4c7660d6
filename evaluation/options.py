"""The command line of the scripts that corrupt and evaluate."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from attacks.attack import Attack, AttackSettings, attack_named, attacks, judge_of, up_to
from attacks.options import EVALUATION_STEPS, NONE, add_attack_choice, settle_attack
from dataset.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, SEVERITIES
from helper.checkpoint import known_checkpoint
from helper.command_line import Parser, positive
from helper.errors import UserError

ALL, ADVERSARIAL = "all", "adversarial"  # branches to attack
EVERY_ATTACK = "the strongest attack; the weaker ones of its norm are run too, and compared with it"


def add_evaluation_attack_options(
    parser: Parser,
    offered: Callable[[Attack], bool] = lambda attack: True,
    *,
    checkpoint: str,
    with_none: bool = True,
    title: str = EVERY_ATTACK,
) -> argparse._ArgumentGroup:
    """`checkpoint`: the option that names the network's file, which says what it was trained against. Returns the
    group.
    """
    parser.dependent.append(partial(trained_against, checkpoint))
    group = add_attack_choice(
        parser,
        lambda attack: attack.evaluates and offered(attack),
        default=None,
        with_none=with_none,
        title=title,
    )
    group.add_argument(
        "--steps", "--eval_steps", type=positive, default=EVALUATION_STEPS, help=f"of PGD (default: {EVALUATION_STEPS})"
    )
    group.add_argument(
        "--restarts",
        type=positive,
        default=1,
        help="random starts of PGD, each on the images that withstood the ones before (default: 1)",
    )
    return group


def add_attacked_branches(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--attack_branches",
        choices=(ALL, ADVERSARIAL),
        default=ALL,
        help="adversarial: attack that of adversarial images alone, in half the time where there are two; others have "
        "no defence (default: all)",
    )


def trained_against(checkpoint: str, args: argparse.Namespace) -> dict[str, object]:
    """--attack_mode, and with it the size of the ball, where it is not given: what judged the epochs of training."""
    known = known_checkpoint(getattr(args, checkpoint))
    attack = attacks().get(known.trained_with("attack_mode") or NONE) if known else None
    if known is None or attack is None or args.attack_mode is not None:
        return {"attack_mode": "pgd"}
    given = {name: known.trained_with(name) for name in ("eps", "step_size")}
    return {"attack_mode": judge_of(attack).name, **{name: value for name, value in given.items() if value is not None}}


def evaluation_attacks(args: argparse.Namespace) -> list[AttackSettings]:
    """The attack that --attack_mode names, after all weaker ones of its norm."""
    if args.attack_mode == NONE:
        return []
    return [
        settle_attack(attack, args, steps=args.steps, restarts=args.restarts)
        for attack in up_to(attack_named(args.attack_mode))
    ]


def add_corruption_options(group: argparse._ActionsContainer, severities: Sequence[int] = SEVERITIES) -> None:
    """Which corruptions, for the scripts that write them and that measure on them. `severities`: the default."""
    group.add_argument(
        "--corruptions",
        nargs="+",
        default=["common"],
        metavar="NAME",
        help=f"common, the 15 of the benchmark (default): {', '.join(CORRUPTIONS)}; extra: "
        f"{', '.join(EXTRA_CORRUPTIONS)}; all; none; or single ones",
    )
    group.add_argument(
        "--severities",
        nargs="+",
        type=int,
        choices=SEVERITIES,
        default=list(severities),
        metavar="S",
        help=f"of 1 to 5 (default: {'all' if tuple(severities) == SEVERITIES else ' '.join(map(str, severities))})",
    )
    group.add_argument(
        "--frost_dir",
        type=Path,
        metavar="DIR",
        help="the benchmark's frost photographs, frost1.png to frost5.jpg (default: none; a procedural frost stands "
        "in, and figures on it cannot be compared with published ones)",
    )


def chosen_corruptions(names: Sequence[str]) -> list[str]:
    """Names and groups of names to corruptions, each once, in the benchmark's order. Raises UserError for others."""
    every = (*CORRUPTIONS, *EXTRA_CORRUPTIONS)
    groups = {"common": CORRUPTIONS, "extra": EXTRA_CORRUPTIONS, "all": every, "none": ()}
    for name in names:
        if name not in groups and name not in every:
            raise UserError(f"--corruptions {name}: known are {', '.join((*groups, *every))}")
    chosen = {corruption for name in names for corruption in groups.get(name, (name,))}
    return [corruption for corruption in every if corruption in chosen]
