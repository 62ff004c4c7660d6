"""Attention transfer: Zagoruyko, Komodakis, "Paying more attention to attention", ICLR 2017 (arXiv 1612.03928)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from distiller_zoo.loss import Loss, Option, Output
from distiller_zoo.modes import Term
from helper.precision import at_least_float32


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


class AttentionTransfer(Loss[Output]):
    name = "at"
    summary = "beta times the mean of the attention transfer of the views named: clean, AugMix, adversarial"
    tokens: ClassVar = {"attn": "clean", "augattn": "aug", "advattn": "adv"}
    weight = Option("beta", 1000.0, "weight of attention transfer")
    distill = "attention"

    def compare(self, term: Term, output: Output, target: Output) -> Tensor:
        features, targets = (map(at_least_float32, part.features) for part in (output, target))
        return attention_loss(list(features), list(targets))


ENTRY = AttentionTransfer()
