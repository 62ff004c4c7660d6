"""What an evaluation will measure, decided before any of it is. `evaluation.settle` makes the plan from the options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from attacks.attack import AttackSettings
from dataset import DatasetSpec
from dataset.options import DataSettings
from evaluation.data import Corruptions
from formats.results import Results


@dataclass(frozen=True)
class EvaluationPlan:
    """One checkpoint's evaluation. `branches`: those that were trained, and so are measured; `attacked`: those of them
    that attacks are made through; `attacks`: weakest first.

    `baseline`: results of another network to hold corruption errors against. `folder`: where results go; `resume`: the
    file of measurements to go on with, None for that of the folder. `record`: every option under its own name.
    """

    checkpoint: Path
    model: str
    branches: tuple[int, ...]
    attacked: tuple[int, ...]
    data: DatasetSpec
    images: DataSettings
    attacks: tuple[AttackSettings, ...]
    corruptions: Corruptions
    baseline: Results | None
    folder: Path
    resume: Path | None
    figures: bool
    seed: int
    record: Mapping[str, object]

    @property
    def main_attack(self) -> AttackSettings | None:
        return main_attack(self.attacks)


def main_attack(attacks: Sequence[AttackSettings]) -> AttackSettings | None:
    """The one whose accuracy is AdvA: the strongest that makes images; without such a one the strongest."""
    making = [attack for attack in attacks if attack.entry.makes_images]
    ranked = making or attacks
    return ranked[-1] if ranked else None
