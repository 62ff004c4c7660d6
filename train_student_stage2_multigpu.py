"""Stage 2: fine-tune the student of stage 1 under its mask, which stays as it is.

    python train_student_stage2_multigpu.py --path_t save/models/.../ResNet18_best_TA0.0.pth --model_s CustomResNet18 \\
        --path_s_load save/student_model/stage1/.../CustomResNet18_best_TA0.0.pth --dataset cifar10 --attack_mode pgd \\
        --augment_mode augmix --use2BN --robust_train_mode rslad+attn+augattn+ce

Writes save/student_model/stage2/S:<student>_T1:<teacher>_stage1:<tag>_<dataset>_<budget>.../
"""

from __future__ import annotations

import argparse

import torch

from dataset import dataset_spec
from helper import command_line
from helper.errors import UserError
from helper.processes import start_processes
from helper.script import run_script
from models.restore import load_model
from training.acceleration import settle_acceleration, settle_precision
from training.data import training_loaders
from training.naming import checkpoint_stem, student_folder
from training.options import add_distillation_options, add_training_options, training_attack
from training.run_folder import RunFolder
from training.stage import (
    check_checkpoint,
    prepare_parallel,
    prepare_teacher,
    settle_distillation,
    train_and_report,
)
from training.step import Task


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--model_s", required=True, help="the student, as stage 1 had it: CustomResNet18, ...")
    parser.add_argument(
        "--path_s_load",
        required=True,
        type=command_line.checkpoint_file,
        metavar=command_line.CHECKPOINT,
        help="the student: a checkpoint of stage 1",
    )
    parser.add_argument(
        "--dense",
        action="store_true",
        help="train dense weights. There are no others here: accepted so that published commands run as they are",
    )
    add_distillation_options(parser, distill="attention")
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
    # Processes and options
    processes = start_processes(args.device)
    acceleration = settle_acceleration(args, processes)
    teacher, teacher_name, objective = settle_distillation(args, processes)

    # Student
    torch.manual_seed(args.seed)
    student, found = load_model(args.path_s_load)
    if found.get("stage") not in (1, 2):
        raise UserError(
            f"--path_s_load {args.path_s_load} is of stage {found.get('stage')}; a student comes from stage 1"
        )
    check_checkpoint(args, args.path_s_load, found)
    label = found["budget"]["label"]

    # Data and run folder
    loaders = training_loaders(args, dataset_spec(args.dataset), processes, objective.views)
    folder = student_folder(args, 2, teacher_name, label, stage1_tag=found["tag"])
    run = RunFolder(folder, checkpoint_stem(args.model_s, 2, attacked=args.attack_mode != "none"), args, processes)

    # Training, and what it is worth on the test set
    acceleration = settle_precision(args, acceleration, student, processes)
    parallel = prepare_parallel(student, objective, processes, sync_bn=args.sync_bn, channels_last=args.channels_last)
    prepare_teacher(teacher, processes, channels_last=args.channels_last)
    attack = training_attack(args)
    task = Task(processes, student, parallel, objective, attack, teacher, seed=args.seed, acceleration=acceleration)
    identity = {"stage": 2, "teacher": teacher_name, "budget": found["budget"], "tag": found["tag"]}
    train_and_report(__file__, args, task, run, loaders, model_name=args.model_s, identity=identity)


if __name__ == "__main__":
    run_script(main, parse_args)
