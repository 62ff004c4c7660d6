"""Stage 2: fine-tune the student of stage 1 under its mask, which stays as it is; with few weights, or all (--dense).

    python train_student_stage2_multigpu.py --path_t save/models/.../ResNet18_best_TA0.0.pth \\
        --path_s_load save/student_model/stage1/.../CustomResNet18_best_TA0.0.pth \\
        --robust_train_mode rslad+attn+augattn+ce --dense

Network, data set, branches, augmentation and attack are those of stage 1; name those that shall differ.
Without --dense the weights are sparse: each layer begins with its largest, 5 % or --density of them, and after every
epoch some move to where the momentum says that they are needed (Dettmers and Zettlemoyer, 2019).
Writes save/student_model/stage2/<run>/.
"""

from __future__ import annotations

from helper.script import run_script

import argparse

import torch

from helper import command_line
from helper.processes import start_processes
from models.own import add_code_option
from training.options import add_distillation_options, add_training_options
from training.run_folder import RunFolder
from training.settle import settle
from training.sparse_options import add_sparse_options
from training.stage import make_task, planned_loaders, planned_student, planned_teacher, train_and_report


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.first = ("path_t", "path_s_load", "robust_train_mode", "preset", "epochs", "learning_rate", "batch_size")
    parser.first += ("dense", "run_name", "resume")
    parser.add_argument("--model_s", metavar="MODEL", help="the student (default: as stage 1 had it)")
    parser.add_argument(
        "--path_s_load",
        required=True,
        type=command_line.checkpoint_file,
        metavar=command_line.CHECKPOINT,
        help="the student: a checkpoint of stage 1",
    )
    add_code_option(parser)
    add_distillation_options(parser, distill="attention")
    add_sparse_options(parser)
    add_training_options(
        parser,
        dataset=None,
        epochs=240,
        epochs_alias="--t2_epochs",
        learning_rate=0.01,
        # An eighth. Weights that 20 quick epochs of stage 1 have left unfinished take a higher rate than finished ones.
        fast={"epochs": 30, "learning_rate": 0.05},
    )
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    # Plan
    processes = start_processes(args.device)
    plan = settle(args, processes, stage=2)

    # Data and run folder
    loaders = planned_loaders(plan, processes)
    run = RunFolder(plan.run, processes)

    # Networks
    teacher = planned_teacher(plan)
    torch.manual_seed(plan.seed)
    student = planned_student(plan)
    task = make_task(plan, processes, student, teacher)

    # Training, and what it is worth on the test set
    train_and_report(__file__, plan, task, run, loaders)


if __name__ == "__main__":
    run_script(main, parse_args)
