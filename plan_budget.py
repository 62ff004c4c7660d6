"""What a network's ReLUs are worth in seconds of private inference: every budget at once, without training one.

    python plan_budget.py zoo:cifar10_resnet20_teacher_24 --network lan wan 100,40
    python plan_budget.py TEACHER --network wan --sensitivity sensitivity/mine.yaml --write 12
    python train_student_stage1_multigpu.py --sensitivity save/budgets/RUN/12s_wan_cheetah.yaml ...

For each link, from the cheapest open layer to all ReLUs: which layers stay open, how many ReLUs they keep, and what
that is predicted to lose, beside as many ReLUs shared out by their layers' sensitivity alone. Within a layer ReLUs rank
by what they do to a few training images: clean, AugMix and adversarial, whatever the network was trained on. What a
layer is worth says --sensitivity, a file of compute_sensitivity.py, or the profile of the architecture. A student's own
masks bound what may be kept: then train with --mask_from.

Writes frontier.json, frontier.png and frontier.pdf into save/budgets/<run>_<checkpoint>/, and with --write or
--write_relus a budget for stage 1's --sensitivity. Costs are estimated by the constants of private inference.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from attacks.options import recorded_attack
from dataset import DatasetSpec
from dataset.options import DataSettings, add_dataset_option
from evaluation.relu_scores import SCORED_IMAGES, relu_scores, scoring_loader
from formats.checkpoint import Checkpoint
from helper import command_line
from helper.errors import UserError
from helper.files import write_json
from helper.placement import place_model
from helper.processes import Processes, start_processes
from helper.run_folder import checkpoint_name
from masks.allocation import allocate_budget, as_profile, check_total, layer_sensitivities, relu_count, total_of
from masks.seconds import Allocation
from masks.selection import GRANULARITIES
from models import architecture_of
from models.branches import recorded_views
from models.layers import Network, relu_sites
from models.restore import checkpoint_data, load_model
from private_inference.costs.estimate import load_constants
from private_inference.costs.link import NETWORKS, network
from private_inference.costs.link import Network as Link
from private_inference.costs.options import LINK, add_protocol_options
from private_inference.costs.prices import priced_label, relu_prices
from private_inference.costs.seconds_budget import SecondsPlanner, Worth
from private_inference.engine.protocols import EngineSettings, settle_set_up
from reporting.figure_style import save_figure
from reporting.seconds import LOSS, SHARE, frontier_figure, frontier_table, plan_text, predicted_in_words
from sensitivity import write_budget

SCHEMA = "rlnet-budget-frontier-1"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    command_line.add_checkpoint(parser, "of any stage, a teacher as a rule")
    parser.add_argument(
        "--network",
        nargs="+",
        type=network,
        default=[NETWORKS["lan"], NETWORKS["wan"]],
        metavar=LINK,
        help=f"the links between the parties: {'; '.join(link.in_words() for link in NETWORKS.values())}; or Mbit/s "
        "and ms there and back, such as 400,4 (default: lan wan)",
    )
    add_protocol_options(parser, comparison="32, which costs half of 64, is taken as safe in every layer")
    parser.add_argument(
        "--batch", type=command_line.positive, default=1, metavar="N", help="images that run at once (default: 1)"
    )
    parser.add_argument(
        "--sensitivity",
        metavar="FILE",
        help="what compute_sensitivity.py measured of each layer (default: the profile of the architecture)",
    )
    parser.add_argument(
        "--mask_granularity", choices=GRANULARITIES, default=GRANULARITIES[0], help="what is kept or dropped as a whole"
    )
    parser.add_argument(
        "--points", type=command_line.point_count, default=40, metavar="N", help="budgets a link (default: 40)"
    )
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--write", type=command_line.number, metavar="S", help="write the budget of S seconds")
    group.add_argument(
        "--write_relus",
        type=relu_count,
        metavar="N",
        help="write the budget of at least N ReLUs, 50k or 9%%, that is best",
    )
    add_image_options(parser.add_argument_group("images that ReLUs are ranked on"))
    parser.add_argument("--save_dir", default="save", metavar="DIR", help="default: save")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: SAVE_DIR/budgets/<run>_<checkpoint>")
    return parser.parse_args(argv)


def add_image_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--images",
        type=command_line.not_negative,
        default=SCORED_IMAGES,
        metavar="N",
        help=f"N training images; 0: none, all ReLUs of a layer rank alike (default: {SCORED_IMAGES})",
    )
    add_dataset_option(group)
    group.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    group.add_argument("--no_download", action="store_true", help="never fetch a missing data set")
    group.add_argument("--batch_size", type=command_line.positive, default=128, help="default: 128")
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU, if there is one"
    )
    group.add_argument("--seed", type=command_line.seed, default=0, help="of crops, AugMix and attack starts")


@dataclass(frozen=True)
class BudgetPlan:
    """`count`: of images that ReLUs are ranked on. `seconds`, `relus`: the budget to write, where one is given."""

    checkpoint: Path
    data: DatasetSpec
    images: DataSettings
    count: int
    links: tuple[Link, ...]
    settings: EngineSettings
    sensitivity: str | None
    granularity: str
    points: int
    seconds: float | None
    relus: int | str | None
    out: Path
    seed: int


def settle(args: argparse.Namespace, checkpoint: Checkpoint) -> BudgetPlan:
    """Raises UserError for options that contradict each other or the checkpoint."""
    writes = args.write is not None or args.write_relus is not None
    if writes and len(args.network) != 1:
        raise UserError("--write and --write_relus plan for one link; name it, such as --network wan")
    if args.points < 2:
        raise UserError("--points 1: a frontier takes 2 or more")
    settings = EngineSettings(args.protocol, args.comparison, args.batch)
    settings = replace(settings, set_up=settle_set_up(args.protocol, args.set_up))
    return BudgetPlan(
        checkpoint=args.checkpoint,
        data=checkpoint_data(checkpoint, args.checkpoint, args.dataset),
        images=DataSettings(args.data_root, args.no_download, args.batch_size),
        count=args.images,
        links=tuple({link.name: link for link in args.network}.values()),
        settings=settings,
        sensitivity=args.sensitivity,
        granularity=args.mask_granularity,
        points=args.points,
        seconds=args.write,
        relus=args.write_relus,
        out=args.out or Path(args.save_dir, "budgets", checkpoint_name(args.checkpoint)),
        seed=args.seed,
    )


def measured_scores(
    plan: BudgetPlan, model: Network, checkpoint: Checkpoint, processes: Processes
) -> dict[str, torch.Tensor]:
    """{site: (C, H, W)}; all alike where no images are asked for."""
    if not plan.count:
        return {name: torch.ones(site.map_shape) for name, site in relu_sites(model).items()}
    options = checkpoint.args
    views, attack = recorded_views(options), recorded_attack(options)
    loader = scoring_loader(plan.images, plan.data, processes, views, count=plan.count, seed=plan.seed)
    placed = place_model(model, processes.device)
    scores = relu_scores(placed, loader, processes, views=views, attack=attack, seed=plan.seed)
    place_model(model, torch.device("cpu"), channels_last=False)
    return scores


def write_plan(
    plan: BudgetPlan, planner: SecondsPlanner, model: Network, found: Allocation, losses: Sequence[float], about: dict
) -> None:
    """One budget as a file for stage 1; printed beside as many ReLUs shared out without prices."""
    unpriced = allocate_budget(model, sum(found.kept), as_profile(losses), planner.available)
    path = write(plan, planner, model, found, about)
    print(plan_text(planner.compared(found.kept, {"as many, without prices": unpriced})))
    print(f"written to {path}: train_student_stage1_multigpu.py --sensitivity {path}")


def write(plan: BudgetPlan, planner: SecondsPlanner, model: Network, found: Allocation, about: dict) -> Path:
    """One budget as a file for stage 1."""
    asked = f"{plan.seconds:g}s" if plan.seconds is not None else f"relu{sum(found.kept) / 1000:g}k"
    label = priced_label(asked, planner.link, plan.settings)
    described = planner.describe(found.kept)
    source = f"plan_budget.py on {plan.checkpoint.name}, estimated over {planner.link.in_words()}: "
    source += f"{described['seconds']:.4g} s an image"
    path = plan.out / f"{label}.yaml"
    write_budget(
        path, {"label": label, **about, "source": source}, found.kept, [s.total for s in relu_sites(model).values()]
    )
    return path


def main(args: argparse.Namespace) -> None:
    # Plan
    processes = start_processes(args.device)
    model, checkpoint = load_model(args.checkpoint)
    plan = settle(args, checkpoint)
    relus = None if plan.relus is None else total_of(plan.relus, model)
    check_total(relus or 0, model, option="--write_relus")
    architecture = architecture_of(checkpoint.model.name)

    # What ReLUs are worth, and what they cost
    losses = layer_sensitivities(architecture, model, plan.sensitivity, "--sensitivity")
    constants = load_constants().protocols[plan.settings.protocol]
    prices = relu_prices(model, constants, plan.settings)
    worth = Worth(measured_scores(plan, model, checkpoint, processes), losses, LOSS if plan.sensitivity else SHARE)
    planners = [SecondsPlanner(model, prices, worth, link, plan.granularity) for link in plan.links]

    # Every budget of every link, beside as many ReLUs shared out by the layers' sensitivity alone
    about = {"model": architecture, "dataset": plan.data.name, "image_size": plan.data.image_size}
    every = []
    for planner in planners:
        frontier = planner.frontier(plan.points)
        profile = as_profile(losses)
        plain = [allocate_budget(model, point["relus"], profile, planner.available) for point in frontier]
        found = planner.compared(planner.available, {})
        every.append(found | {"frontier": frontier, "plain": [planner.describe(kept) for kept in plain]})
        print(
            f"{found['link']['words']}: all but ReLUs takes {planner.linear:.3f} s", frontier_table(every[-1]), sep="\n"
        )
    print(predicted_in_words(worth.unit))

    # Results
    write_json(
        plan.out / "frontier.json", {"schema": SCHEMA, **about, "engine": plan.settings.described(), "links": every}
    )
    save_figure(frontier_figure(every), plan.out / "frontier")
    if plan.seconds is not None:
        (planner,) = planners
        write_plan(plan, planner, model, planner.plan(plan.seconds), losses, about)
    elif relus is not None:
        (planner,) = planners
        write_plan(plan, planner, model, planner.nearest(relus), losses, about)
    print(f"written to {plan.out}")


if __name__ == "__main__":
    run_script(main, parse_args)
