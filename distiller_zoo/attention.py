"""Attention transfer: Zagoruyko, Komodakis, "Paying more attention to attention", ICLR 2017 (arXiv 1612.03928)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def attention_map(feature: Tensor) -> Tensor:
    """The channel mean of the squared feature, flattened and L2-normalised: (B, C, H, W) -> (B, H*W)."""
    return F.normalize(feature.square().mean(1).flatten(1))


def attention_loss(features: Sequence[Tensor], target_features: Sequence[Tensor]) -> Tensor:
    """AT(s, t): the sum over stages of the mean squared difference of attention maps."""
    distances = [
        (attention_map(feature) - attention_map(target)).square().mean()
        for feature, target in zip(features, target_features, strict=True)
    ]
    return torch.stack(distances).sum()
