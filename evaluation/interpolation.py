"""A network of several batch-norm branches as one of a single branch, somewhere between the clean and the adversarial.

What differs between branches is mostly affine, and interpolates (Rebuffi et al., "Revisiting adapters with adversarial
training", ICLR 2023): one network for all images, where branches need somebody who knows which images are attacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from formats.checkpoint import Checkpoint, Interpolation
from helper.errors import UserError
from helper.precision import full_precision
from models.layers import BranchNorm2d, Network, TrackedBatchNorm2d
from models.restore import describe_model

# What of a checkpoint says what its network is and how it was trained; the rest is the state of a training run.
IDENTITY = {"dataset", "data_set", "stage", "teacher", "budget", "tag", "args", "epoch", "averaged"}


def interpolate(network: Network, t: float) -> Network:
    """A one-branch copy: scale, shift, running mean and variance are (1 - t) of branch 0's and t of the last one's.

    t lies in [0, 1]; 0 and 1 give the logits of those branches bit for bit. Weights and masks are the network's.
    """
    single = deepcopy(network)
    single.spec = replace(network.spec, branches=1)
    for norm in single.modules():
        if isinstance(norm, BranchNorm2d):
            norm.branches = nn.ModuleList([_blend(norm.branch(0), norm.branch(-1), t)])
            norm.route = ((None, 0),)
    return single


@torch.no_grad()
def _blend(first: TrackedBatchNorm2d, last: TrackedBatchNorm2d, t: float) -> TrackedBatchNorm2d:
    for mine, other in (
        (first.weight, last.weight),
        (first.bias, last.bias),
        (first.running_mean, last.running_mean),
        (first.running_var, last.running_var),
    ):
        mine.lerp_(other, t)
    return first


@torch.no_grad()
def estimate_statistics(network: Network, batches: Iterable[Tensor]) -> None:
    """Put into the one branch of `network` the means of its batch statistics over `batches`, images (B, 3, S, S).

    Every image counts as much as any other, whatever the sizes of the batches. Leaves the network in eval mode.
    """
    norms = [module for module in network.eval().modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()  # these alone: there may be dropout
    seen = 0
    with full_precision():
        for images in batches:
            seen += len(images)
            for norm in norms:
                norm.momentum = len(images) / seen  # a running mean; what was there before leaves with the first batch
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()


def check_branches(checkpoint: Checkpoint, path: str | Path) -> None:
    """Raise UserError where there are no two trained branches to interpolate between."""
    count = checkpoint.model.branches
    if count == 1:
        raise UserError(f"{path} has one batch-norm branch; there is nothing to interpolate")
    for branch in (0, count - 1):
        if branch not in checkpoint.trained_branches:
            raise UserError(f"{path} never trained its branch {branch}, one of the two ends to interpolate between")


def even_grid(count: int) -> list[float]:
    """`count` values of t from 0 to 1, of 4 decimals, so that a name can hold one and --t can repeat it."""
    return [round(number / (count - 1), 4) for number in range(count)]


def score(point: dict, weight: float) -> float:
    """(1 - weight) CA + weight AdvA, in per cent; rounded, so that equal ones are equal whatever the sum's order."""
    return round((1 - weight) * point["CA"] + weight * point["AdvA"], 6)


def best_point(curve: Sequence[dict]) -> dict:
    """The point with the highest 'score'; of equal ones the one of the smallest t."""
    return max(curve, key=lambda point: (point["score"], -point["t"]))


def single_checkpoint(single: Network, source: Checkpoint, origin: dict) -> Checkpoint:
    """The checkpoint of an interpolated network. `source`: that of its branches; `origin`: how it came from there."""
    kept = {field: getattr(source, field) for field in IDENTITY & source.model_fields_set}
    described = describe_model(source.model.name, single)
    return Checkpoint(**described, **kept, trained_branches=(0,), interpolation=Interpolation(**origin))
