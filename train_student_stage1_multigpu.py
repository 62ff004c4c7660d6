"""Stage 1: find the ReLU mask of a student under a budget, by distillation from its teacher.

    python train_student_stage1_multigpu.py --path_t save/models/.../ResNet18_best_TA0.0.pth --relu_budget 82k \\
        --robust_train_mode rslad+ce
    torchrun --nproc_per_node 2 train_student_stage1_multigpu.py ...

Network, data set, branches, augmentation and attack are those of the teacher; name those that shall differ.
Every epoch trains under a fixed mask and adds up, at every position of every ReLU layer, how far the student's map is
from the teacher's; at its end each layer keeps as many positions as the budget grants it, those with the largest sums.
The last --mask_freeze_epochs train under a frozen mask, and only they give a best checkpoint, so that its weights and
its mask belong together. Writes save/student_model/stage1/<run>/.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
from dataclasses import asdict

import torch

from helper import command_line
from helper.processes import start_processes
from masks.allocation import relu_count
from masks.options import add_search_options
from models import build_model
from models.branches import begin_with
from models.own import add_code_option
from sensitivity import budget_names
from training.options import add_distillation_options, add_training_options
from training.run_folder import RunFolder
from training.seconds import spend_seconds
from training.seconds_options import add_seconds_options
from training.settle import settle
from training.stage import make_task, planned_loaders, planned_teacher, train_and_report


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.first = ("path_t", "relu_budget", "sensitivity", "robust_train_mode", "mask_search", "init_student")
    parser.first += ("preset", "epochs", "run_name", "resume")
    parser.add_argument(
        "--model_s", metavar="MODEL", help="the student: CustomResNet18, ... (default: Custom<the teacher's network>)"
    )
    group = parser.add_argument_group("ReLU budget")
    budget = group.add_mutually_exclusive_group(required=True)
    budget.add_argument(
        "--sensitivity",
        metavar="NAME",
        help=f"a named budget, {', '.join(budget_names())}; or a .yaml file like those in sensitivity/",
    )
    budget.add_argument(
        "--relu_budget",
        type=relu_count,
        metavar="N",
        help="exactly N ReLUs, 82650 or 50k, or a share of all, 9%%; --budget_shares says who shares them out",
    )
    add_seconds_options(parser, budget)
    group.add_argument(
        "--layer_sensitivity",
        metavar="FILE",
        help="share --relu_budget or --seconds_budget out by what compute_sensitivity.py measured of each layer "
        "(default: by the sensitivity profile of the architecture)",
    )
    add_search_options(parser)
    parser.add_argument(
        "--init_student",
        choices=("random", "teacher"),
        default="random",
        help="the student's first weights (default: random)",
    )
    add_code_option(parser)
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


def main(args: argparse.Namespace) -> None:
    # Plan
    processes = start_processes(args.device)
    plan = settle(args, processes, stage=1)
    if plan.origin.seconds:
        plan = spend_seconds(plan, processes)
    search = plan.search
    assert search is not None  # in this stage there is one

    # Data and run folder
    loaders = planned_loaders(plan, processes)
    run = RunFolder(plan.run, processes)

    # Networks, the student's first mask, and the search for better ones
    teacher = planned_teacher(plan)
    torch.manual_seed(plan.seed)
    student = build_model(plan.model, **asdict(plan.network))
    if plan.origin.from_teacher:
        begin_with(student, teacher)
    chooser = search.first_masks(student, plan.origin.budget.layers, plan.seed)
    task = make_task(plan, processes, student, teacher)
    if search.course.epochs:
        task.search = search.build(student, chooser)

    # Training, and what it is worth on the test set
    train_and_report(__file__, plan, task, run, loaders)


if __name__ == "__main__":
    run_script(main, parse_args)
