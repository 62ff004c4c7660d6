"""Standard AutoAttack (Croce and Hein, ICML 2020), by its authors' own package.

APGD on cross-entropy (100 steps), then APGD and FAB on nine targets (100 steps each), then Square (5,000 queries), each
on the images that withstood the ones before. The AutoAttack of torchattacks 3.5.1 takes 10 steps where the standard has
100, so it is not the one that leaderboards mean.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from helper.errors import UserError

REQUIREMENTS = "requirements-attacks.txt"


def check_installed() -> None:
    if find_spec("pyautoattack") is None:
        raise UserError(f"--attack_mode autoattack needs the authors' package: pip install -r {REQUIREMENTS}")


def autoattack(model: nn.Module, x: Tensor, labels: Tensor, *, eps: float, seed: int) -> Tensor:
    """bool (B,): the images in [0, 1] that `model`, in eval mode and frozen, gets right under all four attacks.

    Its random numbers depend on the whole batch, so equal figures need equal batches. Torch's own random state is left
    as it was.
    """
    from pyautoattack import AutoAttack

    logging.getLogger("auto-attack").setLevel(logging.ERROR)  # it would tell each batch's classes and accuracy
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        attack = AutoAttack(model, norm="Linf", eps=eps, version="standard", seed=seed, device=x.device)
        # It flattens images with view(), which channels-last ones do not allow.
        _, predicted = attack.run_standard_evaluation(x.contiguous(), labels, batch_size=len(x))
    return predicted == labels
