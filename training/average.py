"""The average of a network's weights over the steps of its training (Polyak and Juditsky, 1992), with decay."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from formats.checkpoint import AverageRecord
from models.layers import Network, relu_sites
from models.restore import load_weights


class WeightAverage:
    """`network` follows `source`: after `update` number n it is d * network + (1 - d) * source.

    d is the smaller of `decay` and (1 + n) / (10 + n), so that first weights, which are random, are soon forgotten.
    Batch-norm statistics are averaged like weights, in every branch; masks are the source's as they stand.
    """

    def __init__(self, source: Network, decay: float):
        self.source, self.decay, self.updates = source, decay, 0
        self.network = deepcopy(source).requires_grad_(False).eval()
        self.take_masks()
        self.mine, self.theirs = _averaged(self.network), _averaged(source)

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(self.mine, self.theirs, self.updates)
        self.updates += 1

    def take_masks(self) -> None:
        """The source's masks, or what a search does in their place, are new."""
        for mine, theirs in zip(relu_sites(self.network).values(), relu_sites(self.source).values(), strict=True):
            mine.set_mask(theirs.mask)
            mine.gate = theirs.gate

    def state_dict(self) -> dict[str, object]:
        return {"updates": self.updates, "network": self.network.state_dict()}

    def restore(self, state: AverageRecord, path: str | Path) -> None:
        """Raises UserError where the weights that `path` has are not this network's."""
        self.updates = state.updates
        load_weights(self.network, state.network, path)


def _averaged(network: Network) -> list[Tensor]:
    """Weights and batch-norm statistics; no masks, floors or counters."""
    statistics = [buffer for name, buffer in network.named_buffers() if name.endswith(("running_mean", "running_var"))]
    return [parameter.detach() for parameter in network.parameters()] + statistics
