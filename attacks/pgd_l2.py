"""PGD in the L2 ball (Madry et al., ICLR 2018): normalised gradients from a start that is uniform in the ball."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from attacks.ascent import ascend
from attacks.attack import Attack, AttackSettings, Logits, Loss, Start

PIXELS = (1, 2, 3)  # the dimensions of an image in a batch


class PGDL2(Attack):
    name = "pgd_l2"
    title = "PGD (L2)"
    norm = "L2"
    strength = 20
    summary = "PGD in the L2 ball"
    eps = "0.5"
    step_size = "0.1"
    largest_eps = 1000.0  # two images of 577 pixels a side are never further apart
    judges = True

    def perturb(
        self, settings: AttackSettings, fn: Logits, x: Tensor, target: Tensor, *, loss: Loss, random_start: Start
    ) -> Tensor:
        def project(images: Tensor) -> Tensor:
            distance = images - x
            # The pixel range last: x lies in it, so that it brings every pixel nearer.
            return (x + distance * (settings.eps / norms(distance).clamp(min=settings.eps))).clamp_(0, 1)

        return ascend(
            fn,
            (x + settings.eps * in_unit_ball(random_start())).clamp_(0, 1),
            target,
            step_size=settings.step_size,
            steps=settings.steps,
            loss=loss,
            direction=unit,
            project=project,
        )


def norms(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, 1, 1)"""
    return torch.linalg.vector_norm(images, dim=PIXELS, keepdim=True)


def unit(gradient: Tensor) -> Tensor:
    """Of length 1, image by image; 0 where the gradient is 0."""
    smallest = torch.finfo(gradient.dtype).tiny
    gradient = gradient / gradient.abs().amax(PIXELS, keepdim=True).clamp(min=smallest)  # its squares could underflow
    return gradient / norms(gradient).clamp(min=smallest)


def in_unit_ball(noise: Tensor) -> Tensor:
    """(B, C, H, W) uniform in [-1, 1) -> points uniform in the unit ball of C*H*W dimensions.

    A normal vector g has a uniform direction and, independent of it, a squared length of chi-square distribution: its
    distribution function P makes that uniform, and P^(1/d) is a radius whose points fill the volume evenly.
    """
    dimensions = noise[0].numel()
    normal = math.sqrt(2) * torch.erfinv(noise + 2.0**-24)  # noise has steps of 2^-23; halfway it never is -1
    length = norms(normal)
    half = torch.full_like(length, dimensions / 2, dtype=torch.float64)
    share = torch.special.gammainc(half, length.double() ** 2 / 2)
    return normal / length * (share ** (1 / dimensions)).to(noise.dtype)


ENTRY = PGDL2()
