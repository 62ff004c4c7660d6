"""Stage 0: train the all-ReLU teacher, robust where --attack_mode says so.

    python train_teacher.py --model resnet8 --dataset digits --epochs 20
    python train_teacher.py --model ResNet18 --dataset cifar10 --augment_mode augmix --attack_mode pgd --use2BN
    torchrun --nproc_per_node 2 train_teacher.py --model ResNet50 --dataset imagenet --batch_size 256

Writes save/models/<run>/ with the best checkpoints and the last, log.jsonl, TensorBoard curves and results.json.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
from dataclasses import asdict

import torch

from helper import command_line
from helper.processes import start_processes
from models import ARCHITECTURES, build_model
from models.own import PLACE, model_name
from training.options import add_loss_options, add_training_options
from training.run_folder import RunFolder
from training.settle import settle
from training.stage import make_task, planned_loaders, train_and_report


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.first = ("dataset", "model", "attack_mode", "augment_mode", "use2BN", "preset", "epochs", "batch_size")
    parser.first += ("run_name", "resume")
    parser.add_argument(
        "--model",
        type=model_name,
        metavar="MODEL",
        help=f"{', '.join(ARCHITECTURES)}; or {PLACE}, a network of your own (docs/extending.md) (default: ResNet18; "
        "without --dataset as well resnet8, with --preset fast)",
    )
    add_loss_options(parser.add_argument_group("loss"), with_teacher=False)
    add_training_options(
        parser,
        dataset="digits",
        epochs=240,
        epochs_alias=None,
        learning_rate=0.05,
        # An eighth. A one-cycle bears twice the rate, for it spends a moment there and not 150 epochs.
        fast={"epochs": 30, "learning_rate": 0.1},
    )
    parser.set_defaults(dataset=None)
    parser.dependent.append(first_run)
    return parser.parse_args(argv)


def first_run(args: argparse.Namespace) -> dict[str, object]:
    """Network and data where they are not named; where neither is, what a first try trains in minutes."""
    tried = {"model": "resnet8", "preset": "fast"} if args.model is None and args.dataset is None else {}
    return {"model": "ResNet18", "dataset": "digits", **tried}


def main(args: argparse.Namespace) -> None:
    # Plan
    processes = start_processes(args.device)
    plan = settle(args, processes, stage=0)

    # Data and run folder
    loaders = planned_loaders(plan, processes)
    run = RunFolder(plan.run, processes)

    # Network
    torch.manual_seed(plan.seed)
    model = build_model(plan.model, **asdict(plan.network))
    task = make_task(plan, processes, model)

    # Training, and what it is worth on the test set
    train_and_report(__file__, plan, task, run, loaders)


if __name__ == "__main__":
    run_script(main, parse_args)
