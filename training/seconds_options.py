"""The options of stage 1's budget in seconds of private inference, and what they settle to."""

from __future__ import annotations

import argparse
from dataclasses import replace

from helper.command_line import Parser, number, positive
from helper.errors import UserError
from private_inference.costs.link import NETWORKS, network
from private_inference.costs.options import LINK, add_protocol_options
from private_inference.engine.protocols import EngineSettings, settle_set_up
from training.plan import SecondsBudget

# Options that say what a second pays for; without --seconds_budget they mean nothing.
PRICING = ("network", "protocol", "comparison", "set_up", "inference_batch")


def seconds_number(text: str) -> float:
    value = number(text)
    if not value:
        raise argparse.ArgumentTypeError("a budget of 0 seconds opens no layer; --relu_budget 0 keeps no ReLU")
    return value


seconds_number.__name__ = "number of seconds"


def link_name(text: str) -> str:
    """A link as `network` takes it, left as the text that files record."""
    network(text)
    return text


def add_seconds_options(parser: Parser, budget: argparse._MutuallyExclusiveGroup) -> None:
    """`budget`: the group of options of which a run takes one."""
    budget.add_argument(
        "--seconds_budget",
        type=seconds_number,
        metavar="S",
        help="as many ReLUs, in such layers, as private inference of one image may take S seconds with, all but set-up "
        "counted: estimated, by the constants that measure_private_inference.py --estimate-only goes by. A layer that "
        "keeps no ReLU saves its rounds; which do, is planned before the training, and printed",
    )
    group = parser.add_argument_group("what a second of --seconds_budget pays for")
    links = "; ".join(link.in_words() for link in NETWORKS.values())
    group.add_argument(
        "--network",
        type=link_name,
        metavar=LINK,
        help=f"the link between the parties: {links}; or Mbit/s and ms there and back, such as 400,4",
    )
    add_protocol_options(group, comparison="32, which costs half of 64, is taken as safe in every layer")
    group.add_argument(
        "--inference_batch", type=positive, metavar="N", help="images that private inference runs at once (default: 1)"
    )
    parser.set_defaults(**dict.fromkeys(PRICING))


def settle_seconds(args: argparse.Namespace) -> SecondsBudget | None:
    """What --seconds_budget and the options beside it ask for. Raises UserError for what does not go together."""
    if args.seconds_budget is None:
        if given := [f"--{name}" for name in PRICING if getattr(args, name) is not None]:
            raise UserError(f"{', '.join(given)}: only with --seconds_budget")
        return None
    if args.network is None:
        raise UserError(
            f"--seconds_budget needs the link between the parties: --network {', '.join(NETWORKS)}, or 400,4"
        )
    if args.budget_shares == "search":
        raise UserError("--budget_shares search: a budget in seconds says which layers stay open; leave it out")
    settings = EngineSettings(
        args.protocol or EngineSettings.protocol,
        args.comparison or EngineSettings.comparison,
        args.inference_batch or EngineSettings.batch,
    )
    settings = replace(settings, set_up=settle_set_up(settings.protocol, args.set_up or EngineSettings.set_up))
    return SecondsBudget(args.seconds_budget, network(args.network), settings, args.layer_sensitivity)
