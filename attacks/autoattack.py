"""Standard AutoAttack (Croce and Hein, ICML 2020), by its authors' own package.

APGD on cross-entropy (100 steps), then APGD and FAB on nine targets (100 steps each), then Square (5,000 queries), each
on the images that withstood the ones before. The AutoAttack of torchattacks 3.5.1 takes 10 steps where the standard has
100, so it is not the one that leaderboards mean.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from types import MappingProxyType

import torch
from torch import Tensor, nn

from attacks.attack import Attack, AttackSettings
from helper.errors import UserError

REQUIREMENTS = "requirements-attacks.txt"


class AutoAttack(Attack):
    name = "autoattack"
    title = "AutoAttack"
    strength = 30
    summary = "the standard one, by its authors' package"
    trains = False
    whole_batches = True  # its random numbers are those of a batch
    makes_images = False
    unmasks = True
    # Three a step, forwards and back, and for FAB one more, which looks at where the step led; nine targets; queries.
    parts = MappingProxyType({"apgd-ce": 300, "apgd-t": 2_700, "fab-t": 3_600, "square": 5_000})

    def check(self) -> None:
        if find_spec("pyautoattack") is None:
            raise UserError(f"--attack_mode {self.name} needs the authors' package: pip install -r {REQUIREMENTS}")

    def settle(self, eps: float, step_size: float, steps: int, restarts: int = 1, **own: object) -> AttackSettings:
        """Its steps and restarts are the standard's."""
        return AttackSettings(self.name, eps, 0, 0)

    def withstood(
        self, settings: AttackSettings, model: nn.Module, x: Tensor, labels: Tensor, indices: Tensor, seed: int
    ) -> Tensor:
        standing = torch.ones_like(labels, dtype=torch.bool)
        for part in self.parts:
            standing = self.withstood_part(part, settings, model, x, labels, standing, indices, seed)
        return standing

    def withstood_part(
        self,
        part: str,
        settings: AttackSettings,
        model: nn.Module,
        x: Tensor,
        labels: Tensor,
        standing: Tensor,
        indices: Tensor,
        seed: int,
    ) -> Tensor:
        """Its random numbers depend on the whole batch, so equal figures need equal batches. Torch's own random state
        is left as it was.
        """
        from pyautoattack import AutoAttack as Standard

        rows = standing.nonzero().squeeze(1)
        if not len(rows):
            return standing
        logging.getLogger("auto-attack").setLevel(logging.ERROR)  # it would tell each batch's classes and accuracy
        devices = [x.device] if x.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            attack = Standard(
                model,
                norm=self.norm,
                eps=settings.eps,
                version="standard",
                seed=seed + int(indices[0]),
                device=x.device,
            )
            attack.attacks_to_run = [part]
            # It flattens images with view(), which channels-last ones do not allow.
            _, predicted = attack.run_standard_evaluation(x[rows].contiguous(), labels[rows], batch_size=len(rows))
        return standing.index_put((rows,), predicted == labels[rows])


ENTRY = AutoAttack()
