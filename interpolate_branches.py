"""One network without an oracle: a checkpoint's batch-norm branches as one branch between clean and adversarial.

    python interpolate_branches.py CHECKPOINT --weight 0.5
    python interpolate_branches.py CHECKPOINT --weight 0.7 --statistics estimate --attack_images 1000
    python interpolate_branches.py CHECKPOINT --t 0.4 --out single.pth

Scale, shift, running mean and running variance are (1 - t) of branch 0 and t of the last, the adversarial branch (the
AugMix branch of --use3BN takes no part). For every t, CA, AdvA and NPA of the one-branch network are measured on
held-out images, and the attack goes against that very network; t is the one with the highest (1 - W) CA + W AdvA.

Writes a checkpoint of one branch, which every script takes, beside CHECKPOINT: <its name>_t0.4.pth, with --statistics
estimate <its name>_t0.4_estimated.pth; and curve.json, curve.png and curve.pdf into
save/interpolation/<run>_<checkpoint>/, where the checkpoint goes too if CHECKPOINT is one of the zoo. A measurement
that is finished is on disk at once: the same command goes on where a killed one was.
"""

from __future__ import annotations

from helper.machine import versions
from helper.script import run_script

import argparse
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from dataset import heldout_split
from dataset.batches import Loader
from dataset.options import add_data_options
from evaluation.data import evaluation_loader, evenly_spaced, read_judged, read_split
from evaluation.interpolation import (
    best_point,
    estimate_statistics,
    even_grid,
    interpolate,
    score,
    single_checkpoint,
)
from evaluation.interpolation_plan import InterpolationPlan
from evaluation.interpolation_points import Points
from evaluation.measurements import open_measurements
from evaluation.options import (
    add_corruption_options,
    add_evaluation_attack_options,
)
from evaluation.settle_interpolation import settle
from helper import command_line
from helper.checkpoint import save_checkpoint
from helper.command_line import add_run_options
from helper.files import real_path, write_json
from helper.placement import place_model, to_device
from helper.processes import Processes, start_processes
from models.layers import Network
from models.own import add_code_option
from models.restore import load_model
from reporting.figure_style import save_figure
from reporting.interpolation import accuracy_over_t, curve_table
from reporting.tables import in_words

SCHEMA = "rlnet-interpolation-1"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    command_line.add_checkpoint(parser, "of any stage, with 2 or 3 branches")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the one-branch checkpoint (default: CHECKPOINT's name with _t<t>)"
    )
    add_code_option(parser)
    group = parser.add_argument_group("interpolation")
    chosen = group.add_mutually_exclusive_group(required=True)
    chosen.add_argument(
        "--weight", type=command_line.share, metavar="W", help="what AdvA counts against CA in the choice of t, 0 to 1"
    )
    chosen.add_argument("--t", type=command_line.share, help="take this t, and measure there alone")
    group.add_argument(
        "--grid",
        type=command_line.point_count,
        default=11,
        metavar="N",
        help="try N values of t from 0 to 1 (default: 11)",
    )
    group.add_argument(
        "--statistics",
        choices=("interpolate", "estimate"),
        default="interpolate",
        help="running means and variances: interpolated as well, or estimated anew on training images, clean and "
        "without augmentation, in batches of --batch_size (default: interpolate)",
    )
    group.add_argument(
        "--estimate_images", type=command_line.positive, default=2048, metavar="N", help="how many (default: 2048)"
    )
    add_evaluation_attack_options(
        parser,
        lambda attack: attack.makes_images,
        checkpoint="checkpoint",
        with_none=False,
        title="the attack on the one-branch network",
    )
    parser.add_argument(
        "--attack_images",
        type=command_line.positive,
        default=512,
        metavar="N",
        help="attack N evenly spaced held-out images; CA is measured on all (default: 512)",
    )
    group = parser.add_argument_group(
        "corruptions, of held-out images as they are read (32 or 64 pixels; larger ones get no NPA)"
    )
    add_corruption_options(group, severities=(3,))
    group.add_argument(
        "--corrupt_images",
        type=command_line.positive,
        default=256,
        metavar="N",
        help="corrupt N evenly spaced held-out images (default: 256)",
    )
    add_data_options(parser, dataset=None, counts=False)
    add_run_options(parser, evaluates=True)
    return parser.parse_args(argv)


def statistics_loader(plan: InterpolationPlan, processes: Processes) -> Loader | None:
    """What statistics are estimated on. Every process reads all of it, so that all get the same network."""
    if plan.estimate_images is None:
        return None
    training = read_split(plan.images, plan.data, processes, train=True)
    indices = evenly_spaced(heldout_split(training.labels)[0], plan.estimate_images)
    return evaluation_loader(plan.images, plan.data, Processes(0, 1, processes.device), training, indices)


def one_branch(model: Network, t: float, loader: Loader | None, device: torch.device) -> Network:
    """`model` at `t`; with `loader`, its statistics are estimated on those images."""
    network = interpolate(model, t)
    if loader:
        estimate_statistics(network, (batch["clean"] for batch in to_device(loader, device)))
    return network


def main(args: argparse.Namespace) -> None:
    # Checkpoint and plan
    started = perf_counter()
    processes = start_processes(args.device)
    model, checkpoint = load_model(args.checkpoint)
    plan = settle(args, checkpoint)
    place_model(model, processes.device).eval()

    # Images, and where the figures go
    judged = read_judged(plan.images, plan.data, processes)
    loader = statistics_loader(plan, processes)
    measured = open_measurements(plan.folder, plan.checkpoint, processes, plan.resume)
    points = Points(plan, judged, measured, processes)

    # The one-branch network at every t, each measurement on disk before the next begins
    about = plan.statistics_in_words(loader.batch_sampler.num_samples if loader else 0)
    curve = []
    for t in even_grid(plan.grid) if plan.t is None else [plan.t]:
        network = one_branch(model, t, loader, processes.device)
        curve.append({"t": t} | points.measure(network, t=t, statistics=about))
        if processes.is_main:
            print(f"t {t:g}: {in_words(curve[-1])}", flush=True)

    # The choice
    if plan.weight is not None:
        curve = [point | {"score": score(point, plan.weight)} for point in curve]
    t = best_point(curve)["t"] if plan.t is None else plan.t
    out = plan.file(t)
    source = "/".join(real_path(plan.checkpoint).parts[-2:])
    origin: dict[str, Any] = {"source": source, "sha256": measured.digest, "branches": [0, model.spec.branches - 1]}
    origin |= {"t": t, "weight": plan.weight, "statistics": about}
    network = one_branch(model, t, loader, processes.device)

    # Results
    found: dict[str, Any] = {"schema": SCHEMA, "script": Path(__file__).name, "checkpoint": str(out)} | origin
    found |= {"model": checkpoint.model.name, "dataset": plan.data.name, **points.describe(), "curve": curve}
    found |= {"warnings": plan.warnings(checkpoint), "seed": plan.seed, "device": processes.device.type}
    found |= {"versions": versions(), "wall_time_s": round(perf_counter() - started, 1), "args": dict(plan.record)}
    if processes.is_main:
        save_checkpoint(out, single_checkpoint(network, checkpoint, origin))
        write_json(plan.folder / "curve.json", found)
        if plan.t is None:
            save_figure(accuracy_over_t(found), plan.folder / "curve")
        print(curve_table(found), *(f"Warning: {sentence}." for sentence in found["warnings"]), sep="\n")
        print(f"written to {out}, and the curve to {plan.folder}")


if __name__ == "__main__":
    run_script(main, parse_args)
