"""One forward pass over several views, each through its own batch-norm branch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from helper.precision import at_least_float32
from models.layers import route_rows
from training.objective import Output


def forward_views(
    network_with_features: Callable[[Tensor], tuple[Tensor, list[Tensor]]],
    network: nn.Module,
    inputs: Sequence[tuple[Tensor, int]],
) -> list[Output]:
    """One forward pass over several (images, branch) pairs, each normalised by itself; their outputs in order.

    Logits are float32 whatever the pass ran in, features as they come.

    `network_with_features` maps images to (logits, features) and holds `network`, perhaps under DDP.
    """
    sizes = [len(images) for images, _ in inputs]
    with route_rows(network, [(len(images), branch) for images, branch in inputs]):
        logits, features = network_with_features(torch.cat([images for images, _ in inputs]))
    split_features = zip(*(feature.split(sizes) for feature in features), strict=True)
    split_logits = at_least_float32(logits).split(sizes)
    return [Output(part, list(parts)) for part, parts in zip(split_logits, split_features, strict=True)]
