"""Which images a network still gets right under an attack."""

from __future__ import annotations

from torch import Tensor, nn

from attacks.ascent import check_pixels
from attacks.attack import AttackSettings
from attacks.mode import attack_mode


def withstands(
    model: nn.Module, branch: int, x: Tensor, labels: Tensor, attack: AttackSettings, indices: Tensor, seed: int
) -> Tensor:
    """bool (B,): the images of x (B, 3, S, S) that `branch` gets right after every restart of the attack through it.

    `indices` are the images' numbers. Raises UserError where x leaves [0, 1].
    """
    check_pixels(x)
    with attack_mode(model, branch):
        return attack.entry.withstood(attack, model, x, labels, indices, seed)


def withstands_part(
    part: str,
    model: nn.Module,
    branch: int,
    x: Tensor,
    labels: Tensor,
    standing: Tensor,
    attack: AttackSettings,
    indices: Tensor,
    seed: int,
) -> Tensor:
    """bool (B,): of the images that are `standing`, those that withstand one part of the attack; else as above."""
    check_pixels(x)
    with attack_mode(model, branch):
        return attack.entry.withstood_part(part, attack, model, x, labels, standing, indices, seed)
