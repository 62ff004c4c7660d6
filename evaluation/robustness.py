"""Which images a network still gets right under an attack."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from attacks.attack import AttackSettings, attack_mode, check_pixels, cross_entropy_per_image, sample_noise
from attacks.autoattack import autoattack
from models.layers import Network


def withstands(
    model: Network, branch: int, x: Tensor, labels: Tensor, attack: AttackSettings, indices: Tensor, seed: int
) -> Tensor:
    """bool (B,): the images of x (B, 3, S, S) that `branch` gets right after every restart of the attack through it.

    An image that one restart broke is not attacked again: the answer is the same, and that is where the time goes. The
    first one takes all images, also those that are wrong without an attack, so that an attack that helps is seen.
    Raises UserError where x leaves [0, 1].
    """
    check_pixels(x)
    with attack_mode(model, branch):
        if attack.name == "autoattack":
            return autoattack(model, x, labels, eps=attack.eps, seed=seed + int(indices[0]))
        right = torch.ones_like(labels, dtype=torch.bool)
        for restart in range(attack.restarts):
            rows = right.nonzero().squeeze(1)
            if not len(rows):
                break
            images = x[rows].contiguous(memory_format=torch.channels_last)
            x_adv = attack(
                model,
                images,
                labels[rows],
                loss=cross_entropy_per_image,
                random_start=partial(sample_noise, indices[rows], x.shape[1:], seed, restart),
            )
            with torch.no_grad():
                right[rows] = model(x_adv).argmax(1) == labels[rows]
        return right
