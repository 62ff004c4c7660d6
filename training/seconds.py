"""Stage 1's budget in seconds of private inference: its options, and which layers stay open for it."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from evaluation.relu_scores import SCORED_IMAGES, relu_scores, scoring_loader
from helper.checkpoint import read_run_state
from helper.command_line import Parser, number, positive
from helper.errors import UserError
from helper.placement import place_model
from helper.processes import Processes, on_main_process
from masks.allocation import allocate_budget, as_profile, layer_sensitivities
from models import architecture_of, build_model
from models.layers import Network
from private_inference.costs.estimate import load_constants
from private_inference.costs.link import NETWORKS, network
from private_inference.costs.options import LINK, add_protocol_options
from private_inference.costs.prices import relu_prices
from private_inference.costs.seconds_budget import SecondsPlanner, Worth
from private_inference.engine.protocols import EngineSettings, settle_set_up
from reporting.seconds import LOSS, SHARE, plan_text
from training.plan import Plan, SecondsBudget
from training.run_folder import file_to_resume
from training.stage import planned_teacher

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


def spend_seconds(plan: Plan, processes: Processes) -> Plan:
    """The plan with the ReLUs of every layer that its seconds pay for; printed, but where a run goes on with its own.

    Raises UserError for seconds that open no layer. All processes must ask together.
    """
    file = file_to_resume(plan.run)
    if file:
        kept = on_main_process(lambda: stored_layers(file))
    else:
        planner, fresh = planner_of(plan, processes)
        found = on_main_process(lambda: spent(plan, planner, fresh))
        kept = found["kept"]
        if processes.is_main:
            print(plan_text(found))
    budget = replace(plan.origin.budget, layers=tuple(kept))
    return replace(plan, distillation=replace(plan.origin, budget=budget))


def stored_layers(file: Path) -> tuple[int, ...]:
    """What the layers keep in the run that goes on from that file."""
    budget = read_run_state(file).budget
    if budget is None:
        raise UserError(f"--resume {file} does not say what its layers keep")
    return budget.layers


def planner_of(plan: Plan, processes: Processes) -> tuple[SecondsPlanner, Network]:
    """What shares the seconds out, and a network of the student's architecture with the masks that bound it."""
    asked, search, architecture = plan.origin.seconds, plan.search, architecture_of(plan.model)
    assert asked is not None
    assert search is not None
    teacher = place_model(planned_teacher(plan), processes.device)
    views = plan.objective.views
    loader = scoring_loader(plan.images, plan.data, processes, views, count=SCORED_IMAGES, seed=plan.seed)
    scores = relu_scores(teacher, loader, processes, views=views, attack=plan.attack, seed=plan.seed)
    bounds = search.parent or build_model(plan.model, **asdict(plan.network))
    losses = layer_sensitivities(architecture, bounds, asked.sensitivity)
    constants = load_constants().protocols[asked.settings.protocol]
    prices = relu_prices(bounds, constants, asked.settings)
    worth = Worth(scores, losses, LOSS if asked.sensitivity else SHARE)
    return SecondsPlanner(bounds, prices, worth, asked.link, search.granularity), bounds


def spent(plan: Plan, planner: SecondsPlanner, bounds: Network) -> dict:
    """The planned budget beside the network with all ReLUs, and beside as many of them shared out without prices."""
    asked = plan.origin.seconds
    assert asked is not None
    kept = planner.plan(asked.seconds).kept
    profile = as_profile(layer_sensitivities(architecture_of(plan.model), bounds, asked.sensitivity))
    plain = allocate_budget(bounds, sum(kept), profile, planner.available)
    return planner.compared(kept, {"as many, without prices": plain}) | {"kept": list(kept)}
