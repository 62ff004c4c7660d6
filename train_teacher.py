"""Stage 0: train the all-ReLU teacher, robust where --attack_mode says so.

    python train_teacher.py --model resnet8 --dataset digits --epochs 20
    python train_teacher.py --model ResNet18 --dataset cifar10 --augment_mode augmix --attack_mode pgd --use2BN
    torchrun --nproc_per_node 2 train_teacher.py --model ResNet50 --dataset imagenet --batch_size 256

Writes save/models/<model>_<dataset>_.../ with the best and the last checkpoint, log.jsonl, TensorBoard curves and
results.json. Without an attack the best is <model>_best.pth; with one, <model>_best_TA0.0.pth has the best clean
accuracy and <model>_best_ATA<branch>.pth the best accuracy under attack.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import torch

from dataset import dataset_spec
from distiller_zoo.modes import TEACHER_MODES
from helper import command_line
from helper.errors import UserError
from helper.processes import start_processes
from helper.script import run_script
from models import architecture_of, build_model
from models.branches import branch_count
from training.acceleration import settle_acceleration, settle_precision
from training.data import training_loaders
from training.naming import checkpoint_stem, teacher_folder
from training.options import add_training_options, training_attack
from training.run_folder import RunFolder
from training.stage import model_spec, prepare_parallel, settle_objective, train_and_report
from training.step import Task


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--model", default="ResNet18", help="the network (default: ResNet18)")
    parser.add_argument(
        "--robust_train_mode",
        choices=TEACHER_MODES,
        help="none, pgd (cross-entropy over the views) or trades (default: pgd with an attack, none without)",
    )
    parser.add_argument(
        "--trades_lambda", type=command_line.number, default=6.0, help="weight of the KL of mode trades (default: 6)"
    )
    add_training_options(
        parser,
        dataset="digits",
        epochs=240,
        epochs_alias=None,
        learning_rate=0.05,
        # An eighth. A one-cycle bears twice the rate, for it spends a moment there and not 150 epochs.
        fast={"epochs": 30, "learning_rate": 0.1},
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    # Processes and options
    processes = start_processes(args.device)
    acceleration = settle_acceleration(args, processes)
    if architecture_of(args.model) != args.model:
        raise UserError(f"--model {args.model} is a student; its teacher is {architecture_of(args.model)}")
    objective = settle_objective(args, processes, with_teacher=False)

    # Data and run folder
    data = dataset_spec(args.dataset)
    loaders = training_loaders(args, data, processes, objective.views)
    run = RunFolder(
        teacher_folder(args), checkpoint_stem(args.model, 0, attacked=args.attack_mode != "none"), args, processes
    )

    # Model
    torch.manual_seed(args.seed)
    model = build_model(args.model, **asdict(model_spec(data, branch_count(args))))
    acceleration = settle_precision(args, acceleration, model, processes)
    parallel = prepare_parallel(model, objective, processes, sync_bn=args.sync_bn, channels_last=args.channels_last)
    attack = training_attack(args)
    task = Task(processes, model, parallel, objective, attack, seed=args.seed, acceleration=acceleration)

    # Training, and what it is worth on the test set
    train_and_report(__file__, args, task, run, loaders, model_name=args.model, identity={"stage": 0})


if __name__ == "__main__":
    run_script(main, parse_args)
