"""What a measurement of layers' sensitivities will do: `training.settle_sensitivity` decides it, from the options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attacks.attack import AttackSettings
from dataset import DatasetSpec
from dataset.options import DataSettings
from models.layers import ModelSpec
from training.objective import Objective
from training.plan import Optimisation

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
