"""What the training scripts share: checks against the teacher, the optimizer, the way from a task to results."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from dataset import DatasetSpec, dataset_spec
from distiller_zoo.modes import ATTENTION_TOKENS, TEACHER, Weights
from helper.checkpoint import read_file
from helper.errors import UserError
from helper.placement import place_model
from helper.processes import Processes, on_main_process
from models import STUDENTS, architecture_of
from models.branches import branch_count, branch_of, branches_of, check_branches
from models.foreign import load_teacher
from models.layers import BranchNorm2d, ModelSpec, Network
from models.restore import checkpoint_branches, checkpoint_dataset
from reporting.tables import results_table
from training.data import Loaders
from training.fit import fit, say, test_checkpoints
from training.objective import Objective, parse_objective
from training.options import check_training_options, evaluation_attack
from training.parallel import data_parallel, synchronise_batch_norm
from training.results import training_results
from training.run_folder import RunFolder
from training.schedule import make_schedule
from training.step import Task


def settle_objective(args: argparse.Namespace, processes: Processes, *, with_teacher: bool) -> Objective:
    """The objective of --robust_train_mode, whose default is filled in; raises UserError for options at odds."""
    attacked = args.attack_mode != "none"
    args.robust_train_mode = args.robust_train_mode or ("pgd" if attacked else "none")
    weights = Weights(trades_lambda=args.trades_lambda)
    if with_teacher:
        beta = args.beta if args.distill == "attention" else 0.0
        weights = Weights(args.gamma, args.alpha, beta, args.kd_T, args.trades_lambda)
    augmix = args.augment_mode == "augmix"
    objective = parse_objective(
        args.robust_train_mode, augmix=augmix, attack=attacked, weights=weights, with_teacher=with_teacher
    )
    check_branches(branch_count(args), objective.views)
    check_training_options(args, objective.views, processes.count)
    if processes.is_main:
        if augmix and "aug" not in objective.views:
            print(f"note: mode {args.robust_train_mode} has no term for the AugMix view; none is made")
        if with_teacher and not weights.beta and set(ATTENTION_TOKENS) & set(args.robust_train_mode.split("+")):
            print(
                "note: --distill kd sets beta to 0, so the attention terms are left out; --distill attention uses them"
            )
    return objective


def model_spec(data: DatasetSpec, branches: int) -> ModelSpec:
    return ModelSpec(data.num_classes, data.image_size, branches, data.mean, data.std)


def settle_distillation(args: argparse.Namespace, processes: Processes) -> tuple[Network, str, Objective]:
    """(teacher, its name, objective) of a student's stage, and --dataset from the teacher where none was given.

    Raises UserError where options contradict the teacher's checkpoint: data set, architecture, branches, or one of
    these that it never trained.
    """
    teacher, checkpoint = _find_teacher(args)
    objective = settle_objective(args, processes, with_teacher=True)
    asked = {term.view for term in objective.terms if term.target == TEACHER}
    for view in sorted(asked):
        branch = branch_of(view, teacher.spec.branches)
        if branch not in checkpoint_branches(checkpoint):
            raise UserError(
                f"the objective asks the teacher about the {view} view, and {args.path_t} never trained its branch "
                f"{branch}, which that view takes; train a teacher with that view, or choose another mode"
            )
    return teacher, checkpoint["model"]["name"], objective


def _find_teacher(args: argparse.Namespace) -> tuple[Network, dict]:
    if args.model_s not in STUDENTS:
        raise UserError(f"--model_s {args.model_s} is no student; known are {', '.join(STUDENTS)}")
    if args.dataset is None:
        content = read_file(args.path_t)
        args.dataset = checkpoint_dataset(content if isinstance(content, dict) else {}, args.path_t)
    branches = branch_count(args)
    teacher, checkpoint = load_teacher(args.path_t, model_spec(dataset_spec(args.dataset), branches), args.model_s)
    if checkpoint.get("stage", 0) != 0:
        raise UserError(
            f"--path_t {args.path_t} is of stage {checkpoint['stage']}; a teacher comes from train_teacher.py"
        )
    check_checkpoint(args, args.path_t, checkpoint)
    return teacher, checkpoint


def check_checkpoint(args: argparse.Namespace, path: str, checkpoint: dict) -> None:
    """Raise UserError, naming both values, where the options say another data set, branches or model than `path`."""
    given, stored = branch_count(args), checkpoint["model"]["branches"]
    found = [
        ("--dataset", args.dataset, checkpoint.get("dataset", args.dataset)),
        (f"--use{given}BN" if given > 1 else "without --use2BN or --use3BN:", _branches(given), _branches(stored)),
        ("--model_s", architecture_of(args.model_s), architecture_of(checkpoint["model"]["name"])),
    ]
    for option, value, other in found:
        if value != other:
            raise UserError(f"{option} {value} contradicts {path}, which has {other}")


def _branches(count: int) -> str:
    return "1 batch-norm branch" if count == 1 else f"{count} batch-norm branches"


def prepare_parallel(
    model: Network, objective: Objective, processes: Processes, *, sync_bn: bool, channels_last: bool = True
) -> nn.Module:
    """Move the student to its device and wrap it for training; branches that no view takes are not trained."""
    place_model(model, processes.device, channels_last=channels_last)
    used = branches_of(objective.views, model.spec.branches)
    for module in model.modules():
        if isinstance(module, BranchNorm2d):
            for branch, norm in enumerate(module.branches):
                norm.requires_grad_(branch in used)
    if sync_bn:
        synchronise_batch_norm(model)
    return data_parallel(model, processes)


def prepare_teacher(teacher: Network, processes: Processes, *, channels_last: bool = True) -> Network:
    return place_model(teacher, processes.device, channels_last=channels_last).requires_grad_(False).eval()


def train_and_report(
    script: str,
    args: argparse.Namespace,
    task: Task,
    run: RunFolder,
    loaders: Loaders,
    *,
    model_name: str,
    identity: dict,
) -> None:
    """Train the task's student, measure the selected checkpoints on the test set, write and print the results."""
    # The main process's word: other machines need not see its files, and all must take the same way.
    if finished := on_main_process(run.finished_results):
        say(task, f"{results_table(finished)}\nthis run is finished: {run.path}")
        return
    optimizer = torch.optim.SGD(
        [parameter for parameter in task.student.parameters() if parameter.requires_grad],
        lr=args.learning_rate,
        momentum=args.momentum,
        weight_decay=args.weight_decay,
        fused=True,
    )
    schedule = make_schedule(
        args.lr_schedule,
        learning_rate=args.learning_rate,
        epochs=args.epochs,
        decay_epochs=args.lr_decay_epochs,
        decay_rate=args.lr_decay_rate,
    )
    attack = evaluation_attack(args)
    progress = fit(
        task,
        run,
        {"model_name": model_name, "dataset": args.dataset, **identity},
        args,
        optimizer=optimizer,
        schedule=schedule,
        train_loader=loaders.train,
        selection_loader=loaders.selection,
        attacked_loader=loaders.attacked_selection,
        attack=attack,
    )
    checkpoints = test_checkpoints(task, run, args, progress, loaders.test, attack)
    results = training_results(
        Path(script).name, args, task, progress, checkpoints, model_name=model_name, attack=attack
    )
    run.write_results(results)
    say(task, f"\n{results_table(results)}\nwritten to {run.path}")
