"""Masks that keep exactly so many positions, ties broken by position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.layers import relu_sites


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """A bool mask of the shape of `scores` that keeps exactly `count` positions, ties broken by position."""
    order = scores.flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[order[:count]] = True
    return mask.view_as(scores)


def set_random_masks(model: nn.Module, budget: Sequence[int], seed: int) -> None:
    """k_l random positions per layer, drawn over (C, H, W); the same on every process and device."""
    generator = torch.Generator().manual_seed(seed)
    for site, count in zip(relu_sites(model).values(), budget, strict=True):
        site.set_mask(keep_largest(torch.rand(site.map_shape, generator=generator), count))
