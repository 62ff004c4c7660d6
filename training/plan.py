"""What a training run will do, decided before any of it is done. `training.settle` makes the plan from the options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from attacks.attack import AttackSettings
from dataset import DatasetSpec
from dataset.options import DataSettings
from formats.checkpoint import StudentBudget
from masks.options import SearchPlan
from models.layers import ModelSpec, Network
from private_inference.costs.link import Network as Link
from private_inference.costs.prices import priced_label
from private_inference.engine.protocols import EngineSettings
from training.acceleration import Acceleration
from training.objective import Objective
from training.schedule import make_schedule
from training.sparse_momentum import SparseMomentum, Sparsity


def model_spec(data: DatasetSpec, branches: int) -> ModelSpec:
    """Of a network for that data set."""
    return ModelSpec(data.num_classes, data.image_size, branches, data.mean, data.std)


@dataclass(frozen=True)
class Optimisation:
    """SGD: the options of the same names. `sparsity`: of a student whose weights are sparse."""

    epochs: int
    learning_rate: float
    lr_schedule: str
    lr_decay_epochs: tuple[float, ...]
    lr_decay_rate: float
    momentum: float
    weight_decay: float
    ema: float | None
    sync_bn: bool
    sparsity: Sparsity | None = None

    def optimizer(self, network: Network, seed: int) -> torch.optim.SGD:
        """For what of the network is trained, see `training.stage.prepare_parallel`."""
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        settings: dict[str, Any] = {
            "lr": self.learning_rate,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
        }
        if self.sparsity:
            return SparseMomentum(trained, network, self.sparsity, seed=seed, **settings, fused=True)
        return torch.optim.SGD(trained, **settings, fused=True)

    def schedule(self) -> Callable[[float], float]:
        return make_schedule(
            self.lr_schedule,
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            decay_epochs=self.lr_decay_epochs,
            decay_rate=self.lr_decay_rate,
        )


@dataclass(frozen=True)
class Budget:
    """ReLUs that a student keeps, per layer, and what names call that many: 'relu82k'."""

    label: str
    layers: tuple[int, ...]


@dataclass(frozen=True)
class SecondsBudget:
    """The `seconds` that private inference of an image may take, over `link`, as `settings` have it.

    `sensitivity`: the file of measured sensitivities, None for the architecture's profile.
    """

    seconds: float
    link: Link
    settings: EngineSettings
    sensitivity: str | None = None

    @property
    def label(self) -> str:
        """What names call it: '12.5s_wan_cheetah'."""
        return priced_label(f"{self.seconds:g}s", self.link, self.settings)


@dataclass(frozen=True)
class Distillation:
    """Where a student comes from. `teacher` is a model's name, `tag` says how stage 1 trained.

    `teacher_branches`: at most the student's. `teacher_images`: as for `load_teacher`. `student_file`: its weights and
    masks, in stage 2. `from_teacher`: its first weights are the teacher's. `seconds`: what the budget is to be planned
    from, by `training.seconds`; it has no layers until then.
    """

    teacher_file: Path
    teacher: str
    teacher_branches: int
    budget: Budget
    tag: str
    student_file: Path | None = None
    from_teacher: bool = False
    teacher_images: str | None = None
    seconds: SecondsBudget | None = None


@dataclass(frozen=True)
class RunIdentity:
    """The folder of the run, how its files begin, and whether it goes on: `resume` is None, 'auto' or a file."""

    folder: Path
    stem: str
    resume: str | None
    print_freq: int
    save_freq: int

    @property
    def last(self) -> Path:
        """The checkpoint that holds everything needed to go on."""
        return self.folder / f"{self.stem}_last.pth"


@dataclass(frozen=True)
class Plan:
    """A run of `stage` 0, 1 or 2, every choice of its options made. No part of it changes while it is carried out.

    `attack` is that in training, `judged_under` that in evaluations, of `attacked_images` images an epoch (None: all).
    `record` is what the run's files say of it: every option under its own name, as plain values; `inputs` the SHA-256
    of the checkpoints that it begins with, by their options.
    """

    stage: int
    model: str
    network: ModelSpec
    data: DatasetSpec
    images: DataSettings
    objective: Objective
    attack: AttackSettings | None
    judged_under: AttackSettings | None
    attacked_images: int | None
    optimisation: Optimisation
    acceleration: Acceleration
    run: RunIdentity
    seed: int
    record: Mapping[str, object]
    inputs: Mapping[str, str]
    distillation: Distillation | None = None
    search: SearchPlan | None = None

    @property
    def origin(self) -> Distillation:
        """That of a student, which has one."""
        assert self.distillation is not None
        return self.distillation

    @property
    def identity(self) -> dict:
        """What every checkpoint says of its network beside the weights; later stages need it."""
        about = {"model_name": self.model, "dataset": self.data.name, "stage": self.stage}
        about |= {"data_set": self.data.kept} if self.data.kept else {}
        if origin := self.distillation:
            budget = StudentBudget(label=origin.budget.label, layers=origin.budget.layers)
            about |= {"teacher": origin.teacher, "budget": budget, "tag": origin.tag}
        if sparsity := self.optimisation.sparsity:
            about |= {"density": sparsity.density}
        return about
