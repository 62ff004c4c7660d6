"""Stage 1: find the ReLU mask of a student under a budget, by distillation from its teacher.

    python train_student_stage1_multigpu.py --path_t save/models/.../ResNet18_best_TA0.0.pth --model_s CustomResNet18 \\
        --dataset cifar10 --sensitivity ResNet18_C10_relu82k_sensitivity --attack_mode pgd --augment_mode augmix \\
        --use2BN --robust_train_mode rslad+ce
    torchrun --nproc_per_node 2 train_student_stage1_multigpu.py ...

Every epoch trains under a fixed mask and adds up, at every position of every ReLU layer, how far the student's map is
from the teacher's; at its end each layer keeps as many positions as the budget grants it, those with the largest sums.
The last --mask_freeze_epochs train under a frozen mask, and only they give a best checkpoint, so that its weights and
its mask belong together. Writes save/student_model/stage1/S:<student>_T1:<teacher>_<dataset>_<budget>.../
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import torch

from dataset import dataset_spec
from helper import command_line
from helper.errors import UserError
from helper.processes import start_processes
from helper.script import run_script
from masks.allocation import allocate_budget, budget_from_fractions, interpolate_profile
from masks.feature_difference import FeatureDifferenceSearch
from masks.selection import set_random_masks
from models import architecture_of, build_model
from models.branches import branch_count
from models.layers import Network, relu_sites
from sensitivity import load_budget, load_profile
from training.acceleration import settle_acceleration, settle_precision
from training.data import training_loaders
from training.naming import budget_label, checkpoint_stem, student_folder, student_tag
from training.options import add_distillation_options, add_training_options, training_attack
from training.run_folder import RunFolder
from training.stage import (
    model_spec,
    prepare_parallel,
    prepare_teacher,
    settle_distillation,
    train_and_report,
)
from training.step import Task

COMPARED_VIEW = {"feat_diff_nat": "clean", "feat_diff_adv": "adv"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "--model_s", required=True, help="the student, Custom<teacher>: CustomResNet18, Customvgg16, ..."
    )
    budget = parser.add_argument_group("ReLU budget").add_mutually_exclusive_group(required=True)
    budget.add_argument(
        "--sensitivity", metavar="NAME", help="a named list of sensitivity/, or a .yaml file like those"
    )
    budget.add_argument(
        "--relu_budget",
        type=int,
        metavar="N",
        help="exactly N ReLUs, shared out by the architecture's sensitivity profile",
    )
    search = parser.add_argument_group("mask search")
    search.add_argument(
        "--mask_calculation",
        choices=COMPARED_VIEW,
        default="feat_diff_nat",
        help="compare the maps of clean images (default) or of adversarial ones",
    )
    search.add_argument(
        "--student_maps",
        choices=("before_relu", "after_relu"),
        default="before_relu",
        help="compare the teacher's post-ReLU maps with what enters the student's ReLU sites (default: it converges), "
        "or with what leaves them, as published (the masks then swing between two states)",
    )
    search.add_argument(
        "--mask_freeze_epochs",
        type=command_line.positive,
        metavar="N",
        help="train the last N epochs under a frozen mask (default: a tenth of the epochs, at least 1)",
    )
    search.add_argument(
        "--mask_patience_tol",
        type=command_line.number,
        default=0.001,
        metavar="D",
        help="freeze the mask earlier when less than this share of its positions changes ... (default: 0.001)",
    )
    search.add_argument(
        "--mask_patience", type=command_line.positive, default=5, metavar="N", help="... N epochs in a row (default: 5)"
    )
    search.add_argument(
        "--init_student",
        choices=("random", "teacher"),
        default="random",
        help="the student's first weights (default: random)",
    )
    add_distillation_options(parser, distill="kd")
    add_training_options(
        parser,
        dataset=None,
        epochs=150,
        epochs_alias="--t1_epochs",
        learning_rate=0.05,
        # Two fifteenths: 18 new masks, where the search comes to rest after about ten, and 2 epochs under the last.
        fast={"epochs": 20, "learning_rate": 0.1},
    )
    return parser.parse_args(argv)


def settle_budget(args: argparse.Namespace, student: Network) -> tuple[list[int], str]:
    """(ReLUs per layer, label for names)"""
    if args.sensitivity is not None:
        named = load_budget(args.sensitivity)
        return budget_from_fractions(student, named.fractions, f"--sensitivity {args.sensitivity}"), named.label
    profile, own = load_profile(architecture_of(args.model_s))
    if not own:
        profile = interpolate_profile(profile, len(relu_sites(student)))
    return allocate_budget(student, args.relu_budget, profile), budget_label(args.relu_budget)


def main(args: argparse.Namespace) -> None:
    # Processes and options
    processes = start_processes(args.device)
    acceleration = settle_acceleration(args, processes)
    teacher, teacher_name, objective = settle_distillation(args, processes)
    compared = COMPARED_VIEW[args.mask_calculation]
    if compared not in objective.views:
        raise UserError(f"--mask_calculation {args.mask_calculation} needs the {compared} view; add --attack_mode pgd")
    if args.mask_freeze_epochs is None:
        args.mask_freeze_epochs = max(1, round(0.1 * args.epochs))

    # Data
    data = dataset_spec(args.dataset)
    loaders = training_loaders(args, data, processes, objective.views)

    # Student, its budget and first mask
    torch.manual_seed(args.seed)
    student = build_model(args.model_s, **asdict(model_spec(data, branch_count(args))))
    if args.init_student == "teacher":
        student.load_state_dict(teacher.state_dict())
    budget, label = settle_budget(args, student)
    set_random_masks(student, budget, args.seed)
    tag = student_tag(args)
    run = RunFolder(
        student_folder(args, 1, teacher_name, label),
        checkpoint_stem(args.model_s, 1, attacked=args.attack_mode != "none"),
        args,
        processes,
    )

    # The search
    acceleration = settle_precision(args, acceleration, student, processes)
    parallel = prepare_parallel(student, objective, processes, sync_bn=args.sync_bn, channels_last=args.channels_last)
    prepare_teacher(teacher, processes, channels_last=args.channels_last)
    search = None
    if args.mask_freeze_epochs < args.epochs:
        search = FeatureDifferenceSearch(student, budget, compared, before_relu=args.student_maps == "before_relu")
    elif processes.is_main:
        print(f"note: {args.epochs} epochs leave none to search in; the mask stays as it was drawn at random")
    attack = training_attack(args)
    task = Task(processes, student, parallel, objective, attack, teacher, search, args.seed, acceleration)

    # Training, and what it is worth on the test set
    identity = {"stage": 1, "teacher": teacher_name, "budget": {"label": label, "layers": budget}, "tag": tag}
    train_and_report(__file__, args, task, run, loaders, model_name=args.model_s, identity=identity)


if __name__ == "__main__":
    run_script(main, parse_args)
