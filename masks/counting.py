"""How many ReLUs a network keeps, layer by layer, and how far two sets of masks lie apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.layers import relu_sites


@dataclass(frozen=True)
class ReluCount:
    """ReLUs of one layer: its map (C, H, W), how many that makes, and how many the mask keeps."""

    layer: str
    shape: tuple[int, int, int]
    total: int
    kept: int


def relu_counts(model: nn.Module) -> list[ReluCount]:
    """The table per layer, in forward order; the totals are the sums of its columns."""
    return [ReluCount(name, site.map_shape, site.total, site.kept) for name, site in relu_sites(model).items()]


def relu_totals(model: nn.Module) -> tuple[int, int]:
    """(kept, total) ReLUs of the network."""
    counts = relu_counts(model)
    return sum(count.kept for count in counts), sum(count.total for count in counts)


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """The mask of every layer as bool (C, H, W), to be read only: positions of a mask over channels share memory."""
    return {name: site.mask.expand(site.map_shape) for name, site in relu_sites(model).items()}


def mask_arrays(model: nn.Module) -> dict[str, np.ndarray]:
    """`masks_of` as arrays, for reporting."""
    return {name: mask.cpu().numpy() for name, mask in masks_of(model).items()}


def hamming_distance(masks: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """The share of positions, over all layers, in which two sets of masks differ: 0 to 1.

    Of a (C, 1, 1) and a (C, H, W) mask, each channel of the first counts at all of its positions.
    """
    differing = total = 0
    for name in masks:
        one, other = torch.broadcast_tensors(masks[name], others[name])
        differing += int((one != other).sum())
        total += one.numel()
    return differing / total


def describe_relus(model: nn.Module) -> dict:
    counts = relu_counts(model)
    return {
        "kept": sum(count.kept for count in counts),
        "total": sum(count.total for count in counts),
        "layers": [asdict(count) for count in counts],
    }
