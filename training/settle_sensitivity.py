"""From the options of a measurement of layers' sensitivities to its plan."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import MappingProxyType

from attacks.attack import judge_of
from attacks.options import recorded_attack
from dataset import dataset_spec
from dataset.options import DataSettings
from distiller_zoo.modes import Weights
from formats.checkpoint import Checkpoint
from helper.errors import UserError
from helper.files import Kind, read_bytes
from helper.processes import Processes
from helper.run_folder import plain_arguments
from masks.allocation import check_total, total_of
from models import architecture_of, build_model
from models.branches import recorded_views
from models.layers import Network
from models.restore import checkpoint_data
from training.objective import parse_objective
from training.plan import Optimisation, model_spec
from training.sensitivity_plan import LINEARIZE, RATE, RATE_FROM_RANDOM, SHORT, SensitivityPlan
from training.settle import check_batch


def settle(
    args: argparse.Namespace, teacher: Network | None, checkpoint: Checkpoint | None, processes: Processes
) -> SensitivityPlan:
    """`teacher`: the network of --path, from `checkpoint`. Raises UserError for what does not go together."""
    check_options(args, checkpoint)
    data = checkpoint_data(checkpoint, args.path, args.dataset) if checkpoint else dataset_spec(args.dataset)
    network = teacher.spec if teacher else model_spec(data, 1)
    check_total(total_of(args.relu_budget, fresh := build_model(args.model, **vars(network))), fresh)
    options = checkpoint.args if checkpoint else {}
    views, attack = recorded_views(options), recorded_attack(options)
    objective = parse_objective(
        ("rslad+ce" if attack else "none") if teacher else None,
        augmix="aug" in views,
        attack=attack is not None,
        weights=Weights(),
        with_teacher=teacher is not None,
    )
    check_batch(args.batch_size, network.branches, objective.views, processes.count)
    judge = attack and judge_of(attack.entry).settle(attack.eps, options["step_size"], args.eval_steps)
    epochs, batches = SHORT[args.method]
    rate = args.learning_rate or (RATE if teacher else RATE_FROM_RANDOM)
    images = DataSettings(
        args.data_root,
        args.no_download,
        args.batch_size,
        args.num_workers,
        limit_train_batches=args.limit_train_batches or batches,
        limit_val_batches=args.limit_val_batches,
    )
    return SensitivityPlan(
        method=args.method,
        model=args.model,
        network=network,
        data=data,
        images=images,
        teacher=args.path,
        objective=objective,
        attack=attack,
        judged_under=judge,
        optimisation=Optimisation(args.epochs or epochs, rate, "onecycle", (), 0.1, 0.9, 5e-4, None, True),
        density=args.density,
        heldout_images=args.heldout_images,
        relus=args.relu_budget,
        out=args.out,
        folder=Path(args.save_dir, "sensitivity", args.out.stem),
        resume=Path(args.resume) if args.resume not in (None, "auto") else None,
        seed=args.seed,
        record=MappingProxyType(plain_arguments(vars(args))),
    )


def check_options(args: argparse.Namespace, checkpoint: Checkpoint | None) -> None:
    """Raise UserError for options that contradict each other, or the checkpoint of --path."""
    if architecture_of(args.model) != args.model:
        raise UserError(f"--model {args.model} is a student; its teacher is {architecture_of(args.model)}")
    if args.out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out {args.out}: name a .yaml file, as --sensitivity takes it")
    if args.out.is_file() and b"\nprovenance:" not in read_bytes(args.out, Kind.YAML):
        raise UserError(f"--out {args.out}: this file is none of compute_sensitivity.py's; name another one")
    if not args.density:
        raise UserError("--density 0 leaves no weight; name a share above 0")
    if checkpoint is None:
        if args.method == LINEARIZE:
            raise UserError("--method linearize takes a trained network; name it with --path")
        if args.dataset is None:
            raise UserError("without --path, name the data set with --dataset")
        return
    name, stage = checkpoint.model.name, (checkpoint.stage or 0)
    if name != args.model:
        raise UserError(f"--model {args.model} contradicts {args.path}, which has {name}")
    if stage != 0:
        raise UserError(f"--path {args.path} is of stage {stage}; a teacher comes from train_teacher.py")
