"""Masks that keep exactly so many positions, ties broken by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from models.layers import relu_sites


class MaskChooser:
    """Turns scores into masks that keep exactly `budget`, ReLUs per layer."""

    def __init__(self, budget: Sequence[int]):
        self.budget = tuple(budget)

    def set_masks(self, model: nn.Module, scores: Mapping[str, Tensor]) -> None:
        """Keep the positions with the largest of `scores`, (C, H, W) for every site."""
        for (name, site), count in zip(relu_sites(model).items(), self.budget, strict=True):
            site.set_mask(keep_largest(scores[name], count))

    def set_random_masks(self, model: nn.Module, seed: int) -> None:
        """Random positions, drawn over (C, H, W); the same on every process and device."""
        generator = torch.Generator().manual_seed(seed)
        sites = relu_sites(model)
        self.set_masks(model, {name: torch.rand(site.map_shape, generator=generator) for name, site in sites.items()})


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """A bool mask of the shape of `scores` that keeps exactly `count` positions, ties broken by position."""
    order = scores.flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[order[:count]] = True
    return mask.view_as(scores)


def set_random_masks(model: nn.Module, budget: Sequence[int], seed: int) -> None:
    """k_l random positions per layer, drawn over (C, H, W); the same on every process and device."""
    MaskChooser(budget).set_random_masks(model, seed)
