"""The three layers that every network here is made of, and the base class that strings them together.

`Normalize` takes images in [0, 1]; `BranchNorm2d` is batch normalisation with one set of statistics and affine
parameters per branch (Xie et al., "Adversarial examples improve image recognition", CVPR 2020); `MaskedReLU` is a
ReLU that is the identity wherever its mask is false.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dataset.spec import Channels

# (rows, branch): the next `rows` rows of the batch go through `branch`; rows is None for "all of them".
Route = Sequence[tuple[int | None, int]]


@dataclass(frozen=True)
class ModelSpec:
    """What a network must know besides its name. `mean` and `std` are per channel, for images in [0, 1]."""

    num_classes: int
    image_size: int
    branches: int
    mean: Channels
    std: Channels


class Normalize(nn.Module):
    """(x - mean) / std for x (B, 3, H, W) in [0, 1]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        # Not in the state dict: a checkpoint's model arguments hold them already.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


class _FlooredIdentity(torch.autograd.Function):
    """max(x, floor) that keeps its output for the backward pass, as the convolution behind it does, and not x."""

    @staticmethod
    def forward(ctx, x: Tensor, floor: Tensor) -> Tensor:
        out = torch.maximum(x, floor)
        ctx.save_for_backward(out, floor)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        out, floor = ctx.saved_tensors
        # Passes where out > floor, and at NaN, as torch.relu does. With torch.where(out > floor, gradient, 0) forward
        # and backward take 1.5 times as long on a CPU (benchmarks/bench_masked_relu.py), and it keeps as much.
        return torch.ops.aten.threshold_backward(gradient, out - floor, 0), None


class MaskedReLU(nn.Module):
    """relu(x) where `mask` is true, x where it is false.

    `mask` is a bool buffer (C, H, W), or (C, 1, 1) for a mask over whole channels. All true is a plain ReLU. The site
    learns its shape from `size_masks`, so a model file never computes one.
    """

    mask: Tensor
    floor: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("mask", torch.ones(1, 1, 1, dtype=torch.bool))
        # 0 where the mask is true, else -inf: max(x, floor) is the masked ReLU. Channels last, as the scripts run their
        # networks, so that the maximum need not walk through memory in two orders.
        self.register_buffer("floor", torch.zeros(1, 1, 1, 1), persistent=False)
        self.map_shape: tuple[int, int, int] = (1, 1, 1)
        self.keeps_all = True
        # What a mask search does here instead while it looks for the mask: (x, whether training) -> as forward's.
        self.gate: Callable[[Tensor, bool], Tensor] | None = None

    def set_mask(self, mask: Tensor) -> None:
        """Take over a copy of `mask`, bool of shape (C, H, W) or (C, 1, 1)."""
        channels, height, width = self.map_shape
        if mask.dtype != torch.bool or tuple(mask.shape) not in {(channels, height, width), (channels, 1, 1)}:
            raise ValueError(f"mask is {mask.dtype} {tuple(mask.shape)}, this site takes bool {self.map_shape}")
        self.mask = mask.detach().clone().to(self.mask.device)
        self._derive()

    @property
    def total(self) -> int:
        """ReLUs of the plain network at this site."""
        channels, height, width = self.map_shape
        return channels * height * width

    @property
    def kept(self) -> int:
        """ReLUs that the mask leaves."""
        return int(self.mask.sum()) * self.total // self.mask.numel()

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is not None:
            return self.gate(x, self.training)
        if self.keeps_all:
            return F.relu(x)
        return _FlooredIdentity.apply(x, self.floor.to(x.dtype))

    def extra_repr(self) -> str:
        return f"{self.kept} of {self.total} ReLUs"

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        stored = state_dict.get(prefix + "mask")
        if stored is not None and tuple(stored.shape) in {self.map_shape, (self.map_shape[0], 1, 1)}:
            self.mask = torch.ones(stored.shape, dtype=torch.bool, device=self.mask.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._derive()

    def _derive(self) -> None:
        """What follows from the mask."""
        self.keeps_all = bool(self.mask.all())
        floor = torch.zeros_like(self.mask, dtype=self.floor.dtype).masked_fill_(~self.mask, -torch.inf)
        self.floor = floor[None].contiguous(memory_format=torch.channels_last)


class TrackedBatchNorm2d(nn.BatchNorm2d):
    """torch's, which always tracks statistics here."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float


class BranchNorm2d(nn.Module):
    """Batch normalisation with `branches` independent sets of statistics and affine parameters.

    Which rows take which branch is state, set by `route_rows` or `use_branch`. In training every entry of the route is
    normalised by its own batch statistics, also where two entries share a branch; their running statistics are then
    updated one entry after the other.

    `average`, when set, is a differentiable function that averages a tensor over `processes` processes: batch
    statistics are then those of the global batch, and N processes train as one does. All must hold as many rows.
    """

    def __init__(self, channels: int, branches: int):
        super().__init__()
        self.branches = nn.ModuleList(TrackedBatchNorm2d(channels) for _ in range(branches))
        self.route: Route = ((None, 0),)
        self.average: Callable[[Tensor], Tensor] | None = None
        self.processes = 1

    def branch(self, number: int) -> TrackedBatchNorm2d:
        return cast(TrackedBatchNorm2d, self.branches[number])  # a ModuleList does not say what it holds

    def forward(self, x: Tensor) -> Tensor:
        taken = {branch for _, branch in self.route}
        if len(self.route) == 1 or (not self.training and len(taken) == 1):
            return self._normalise(self.branch(self.route[0][1]), x)
        parts = x.split([rows for rows, _ in self.route])
        normalised = [
            self._normalise(self.branch(branch), part) for part, (_, branch) in zip(parts, self.route, strict=True)
        ]
        return torch.cat(normalised)

    def _normalise(self, norm: TrackedBatchNorm2d, x: Tensor) -> Tensor:
        if self.average is None or not norm.training:
            return norm(x)
        # Autocast hands over half precision, in which sums over a batch overflow or round; nn.BatchNorm2d widens too.
        wide = x.to(norm.weight.dtype)
        mean = self.average(wide.mean((0, 2, 3)))
        centred = wide - mean.view(-1, 1, 1)
        variance = self.average(centred.square().mean((0, 2, 3)))
        with torch.no_grad():
            count = self.processes * x.numel() / x.shape[1]
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        return (centred * scale.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)).to(x.dtype)


class Network(nn.Module):
    """Stem, stages, head. `model(x)` gives logits (B, classes) for images x (B, 3, S, S) in [0, 1]."""

    about: Any = None  # what rlnet.load_model read of its file

    def __init__(self, spec: ModelSpec):
        super().__init__()
        self.spec = spec
        self.normalize = Normalize(spec.mean, spec.std)

    def stem(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def stages(self) -> Sequence[nn.Module]:
        raise NotImplementedError

    def head(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x)[0]

    def forward_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits, and the output of every stage (B, C, H, W), the features that attention transfer compares."""
        x = self.stem(self.normalize(x))
        features = []
        for stage in self.stages():
            x = stage(x)
            features.append(x)
        return self.head(x), features


def stem_convolution(channels: int, image_size: int) -> nn.Conv2d:
    """7x7 stride 2 for images from 128 pixels on (a 3x3 stride-2 pooling follows it), 3x3 stride 1 for smaller ones."""
    if has_large_stem(image_size):
        return nn.Conv2d(3, channels, 7, stride=2, padding=3, bias=False)
    return nn.Conv2d(3, channels, 3, padding=1, bias=False)


def stem_pooling(image_size: int) -> nn.Module:
    return nn.MaxPool2d(3, stride=2, padding=1) if has_large_stem(image_size) else nn.Identity()


def has_large_stem(image_size: int) -> bool:
    return image_size >= 128


def init_convolutions(model: nn.Module) -> None:
    """He et al. (ICCV 2015), fan-out, for every convolution."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def relu_sites(model: nn.Module) -> dict[str, MaskedReLU]:
    """Every MaskedReLU by its module name, in the order of the forward pass."""
    return {name: module for name, module in model.named_modules() if isinstance(module, MaskedReLU)}


def size_masks(model: Network) -> None:
    """Give every MaskedReLU an all-true mask of the shape it meets, by one forward pass over a blank image.

    Raises RuntimeError where a model calls its sites in another order than it declares them, or one twice: budgets go
    by that order.
    """
    sites = relu_sites(model)
    called: list[str] = []

    def size(name: str) -> Callable:
        def hook(site: MaskedReLU, inputs: tuple[Tensor], output: Tensor) -> None:
            called.append(name)
            _, channels, height, width = output.shape
            site.map_shape = (channels, height, width)
            site.set_mask(torch.ones(site.map_shape, dtype=torch.bool))

        return hook

    handles = [site.register_forward_hook(size(name)) for name, site in sites.items()]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, model.spec.image_size, model.spec.image_size))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    if called != list(sites):
        raise RuntimeError(f"ReLU sites are declared as {list(sites)} but called as {called}")


@contextmanager
def route_rows(model: nn.Module, route: Route) -> Iterator[None]:
    """Within the context every BranchNorm2d of `model` sends its rows along `route`."""
    norms = [module for module in model.modules() if isinstance(module, BranchNorm2d)]
    before = [norm.route for norm in norms]
    try:
        for norm in norms:
            norm.route = tuple(route)
        yield
    finally:
        for norm, route_before in zip(norms, before, strict=True):
            norm.route = route_before


def use_branch(model: nn.Module, branch: int) -> AbstractContextManager[None]:
    """Within the context the whole batch takes one branch."""
    return route_rows(model, ((None, branch),))
