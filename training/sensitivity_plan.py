"""What a measurement of layers' sensitivities will do, decided before. `settle` makes the plan from the options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from attacks.attack import AttackSettings, judge_of
from attacks.options import recorded_attack
from dataset import DatasetSpec, dataset_spec
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
from models.layers import ModelSpec, Network
from models.restore import checkpoint_data
from training.objective import Objective, parse_objective
from training.plan import Optimisation, model_spec
from training.settle import check_batch

LINEARIZE, PRUNE = METHODS = ("linearize", "prune")
# Of each method: epochs, and batches an epoch.
SHORT = {LINEARIZE: (1, 20), PRUNE: (5, 100)}
RATE, RATE_FROM_RANDOM = 0.01, 0.05


@dataclass(frozen=True)
class SensitivityPlan:
    """What is measured, of which network. `teacher`: its file, None for random weights.

    `attack` is that in training, `judged_under` that on the held-out images, of which there are `heldout_images`.
    `density`: of the weights that pruning leaves. `relus`: of the budget that the file is to hold. `folder`: where
    what is finished lies. `record`: every option under its own name.
    """

    method: str
    model: str
    network: ModelSpec
    data: DatasetSpec
    images: DataSettings
    teacher: Path | None
    objective: Objective
    attack: AttackSettings | None
    judged_under: AttackSettings | None
    optimisation: Optimisation
    density: float
    heldout_images: int
    relus: int | str
    out: Path
    folder: Path
    resume: Path | None
    seed: int
    record: Mapping[str, object]

    @property
    def settings(self) -> dict[str, object]:
        """What the figures depend on, beside the teacher's weights."""
        schedule, attack = self.optimisation, self.attack
        found: dict[str, object] = {"model": self.model, "epochs": schedule.epochs, "rate": schedule.learning_rate}
        found |= {"batches": self.images.limit_train_batches, "batch": self.images.batch_size, "seed": self.seed}
        found |= {"views": "+".join(self.objective.views), "attack": attack.values() if attack else None}
        if self.method == PRUNE:
            return found | {"density": self.density}
        judge = self.judged_under
        return found | {"images": self.heldout_images, "judged under": judge.values() if judge else None}


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
