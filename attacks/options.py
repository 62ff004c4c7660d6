"""The command line of everything that attacks."""

from __future__ import annotations

from collections.abc import Sequence

from helper.command_line import Parser, pixels

DEFAULT_EPS = "8/255"


DEFAULT_STEP_SIZE = "2/255"


def add_ball_options(parser: Parser, attacks: Sequence[str], default: str, attack_help: str):
    group = parser.add_argument_group("attack (L-infinity, pixels in [0, 1])")
    group.add_argument("--attack_mode", choices=attacks, default=default, help=f"{attack_help} (default: {default})")
    group.add_argument("--eps", type=pixels, default=DEFAULT_EPS, help=f"radius of the ball (default: {DEFAULT_EPS})")
    group.add_argument(
        "--step_size", type=pixels, default=DEFAULT_STEP_SIZE, help=f"PGD's step (default: {DEFAULT_STEP_SIZE})"
    )
    return group
