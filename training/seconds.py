"""Stage 1's budget in seconds of private inference: which layers stay open for it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from evaluation.relu_scores import SCORED_IMAGES, relu_scores, scoring_loader
from helper.checkpoint import read_run_state
from helper.errors import UserError
from helper.placement import place_model
from helper.processes import Processes, on_main_process
from masks.allocation import allocate_budget, as_profile, layer_sensitivities
from models import architecture_of, build_model
from models.layers import Network
from private_inference.costs.estimate import load_constants
from private_inference.costs.prices import relu_prices
from private_inference.costs.seconds_budget import SecondsPlanner, Worth
from reporting.seconds import LOSS, SHARE, plan_text
from training.plan import Plan
from training.run_folder import file_to_resume
from training.stage import planned_teacher


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
