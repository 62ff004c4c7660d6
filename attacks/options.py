"""The command line of everything that attacks, and what it says of attacks, settled."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from attacks.attack import Attack, AttackSettings, attack_named, attacks
from helper.command_line import Parser, exact

NONE = "none"
THAT_OF_THE_CHECKPOINT = "as the checkpoint was trained"

EVALUATION_STEPS = 20  # of PGD, wherever a network is judged


def add_attack_choice(
    parser: Parser, offered: Callable[[Attack], bool], *, default: str | None, with_none: bool = True, title: str
) -> argparse._ArgumentGroup:
    """--attack_mode among the `offered` attacks, --eps and --step_size, which default to its customary ones, and the
    options that these attacks have for themselves. Returns the group. `default`: None where a checkpoint has it, which
    `parser.dependent` must then give.
    """
    entries = [attack for attack in attacks().values() if offered(attack)]
    kinds = "; ".join(f"{attack.name}, {attack.summary}" for attack in entries)
    group = parser.add_argument_group("attack (pixels in [0, 1])")
    group.add_argument(
        "--attack_mode",
        choices=[*([NONE] if with_none else []), *(attack.name for attack in entries)],
        default=default,
        help=f"{title}: {kinds} (default: {default or THAT_OF_THE_CHECKPOINT})",
    )
    eps = _customary({attack.name: attack.eps for attack in entries})
    group.add_argument("--eps", type=length, help=f"radius of the ball, in the attack's norm (default: {eps})")
    step = _customary({attack.name: attack.step_size for attack in entries if not attack.single_step})
    group.add_argument("--step_size", type=length, help=f"of an attack of several steps (default: {step})")
    own = {option.name: option for attack in entries for option in attack.options}
    for option in own.values():
        group.add_argument(f"--{option.name}", type=option.type, default=option.default, help=option.help)
    parser.dependent.append(_lengths)
    return group


def settle_attack(attack: Attack, args: argparse.Namespace, *, steps: int, restarts: int = 1) -> AttackSettings:
    """`attack` with the numbers that the options give."""
    own = {option.name: getattr(args, option.name) for option in attack.options}
    return attack.settle(args.eps, args.step_size, steps, restarts, **own)


def recorded_attack(options: Mapping[str, Any]) -> AttackSettings | None:
    """The training attack of a run, from the options that its checkpoint records; None without one."""
    if options.get("attack_mode", NONE) == NONE:
        return None
    attack = attack_named(options["attack_mode"])
    own = {option.name: options.get(option.name, option.default) for option in attack.options}
    return attack.settle(options["eps"], options["step_size"], options["steps"], **own)


def attack_defaults() -> dict[str, object]:
    """What the options that attacks have for themselves are where they are not given."""
    return {option.name: option.default for attack in attacks().values() for option in attack.options}


def length(text: str) -> float:
    """'8/255' or '0.03', in units of the pixel range."""
    value = float(exact(text))
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative; write 8/255 or 0.0314")
    return value


length.__name__ = "fraction"


def _lengths(args: argparse.Namespace) -> dict[str, float]:
    """--eps and --step_size where they are not given."""
    attack = Attack if args.attack_mode == NONE else attack_named(args.attack_mode)
    for name in ("eps", "step_size"):
        given = getattr(args, name)
        if given is not None and given > attack.largest_eps:
            raise argparse.ArgumentTypeError(
                f"--{name}: {given:g} is above {attack.largest_eps:g}; write 8/255 or 0.0314"
            )
    customary = {"eps": attack.eps, "step_size": attack.step_size}
    return {name: length(text) for name, text in customary.items() if getattr(args, name) is None}


def _customary(values: dict[str, str]) -> str:
    """'8/255; pgd_l2: 0.5': the value of most attacks, then those of the others."""
    counts = list(values.values())
    usual = max(values.values(), key=counts.count, default="")
    return "; ".join([usual, *(f"{name}: {value}" for name, value in values.items() if value != usual)])
