"""Selective network linearization (SNL; Cho et al., ICML 2022, arXiv 2202.02340): soft gates under a penalty."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from formats.checkpoint import OptimizerRecord, Scalar, SearchRecord, Tensors
from formats.record import Amount
from helper.checkpoint import load_optimizer
from helper.command_line import number
from helper.processes import average_over_processes
from masks.search import Course, MaskSearch, Moved, SearchEntry, SearchStep
from masks.selection import MaskChooser
from models.layers import relu_sites

COUNTED = 0.01  # a gate above it counts as kept
GROWTH, FIRST_EPOCH = 1.1, 5  # of the penalty, from this epoch on


class _SoftReLU(torch.autograd.Function):
    """alpha relu(x) + (1 - alpha) x = x - alpha min(x, 0); the gradient of alpha is summed in float32."""

    @staticmethod
    def forward(ctx, x: Tensor, alpha: Tensor) -> Tensor:
        ctx.save_for_backward(x, alpha)
        return x - alpha.to(x.dtype) * x.clamp(max=0)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, alpha = ctx.saved_tensors
        slope = torch.where(x < 0, 1 - alpha.to(x.dtype), 1)
        of_alpha = None
        if ctx.needs_input_grad[1]:
            of_alpha = -(gradient.to(alpha.dtype) * x.clamp(max=0)).sum(0).sum_to_size(alpha.shape)
        return gradient * slope, of_alpha


def soft_relu(alpha: Tensor, x: Tensor, training: bool) -> Tensor:
    """(B, C, H, W) -> the same; alpha gets a gradient in training mode only, so that attacks need not compute it."""
    return _SoftReLU.apply(x, alpha if training else alpha.detach())


class SNLRecord(SearchRecord):
    """`alphas`: the gates by site; `fewest`: ReLUs that were left after any epoch."""

    alphas: Tensors
    adam: OptimizerRecord
    mu: Scalar
    fewest: Amount


class SNLSearch(MaskSearch):
    """Trains a gate alpha for every unit, from 1 on, by Adam at `rate`, under a penalty mu * sum |alpha| from `mu` on.

    The penalty grows whenever an epoch leaves no fewer ReLUs with alpha above 0.01 than there were before. It settles
    when no more than the budget are left, or its epochs are over; the largest gates are kept, exactly the budget.
    """

    record = SNLRecord

    def __init__(self, student: nn.Module, chooser: MaskChooser, course: Course, *, mu: float, rate: float):
        super().__init__(student, chooser, course)
        self.sites = relu_sites(student)
        self.alphas = {
            name: nn.Parameter(torch.ones(chooser.unit_shape(site), device=site.mask.device))
            for name, site in self.sites.items()
        }
        # ReLUs that one gate stands for; where the masks may be true, if not everywhere
        self.allowed = {name: chooser.allowed(name, site, site.mask.device) for name, site in self.sites.items()}
        self.sizes = {
            name: self.allowed[name].expand(site.map_shape).float().sum_to_size(chooser.unit_shape(site))
            for name, site in self.sites.items()
        }
        device = next(iter(self.alphas.values())).device
        self.mu = torch.full((), mu, device=device)
        self.fewest = sum(float(sizes.sum()) for sizes in self.sizes.values())
        self.optimizer = torch.optim.Adam(
            list(self.alphas.values()), lr=rate, fused=True, capturable=device.type == "cuda"
        )
        for name, site in self.sites.items():
            site.gate = partial(self._gate, self.alphas[name], self.allowed[name], chooser.parent is not None)

    @staticmethod
    def _gate(alpha: Tensor, allowed: Tensor, restricted: bool, x: Tensor, training: bool) -> Tensor:
        return soft_relu(alpha * allowed if restricted else alpha, x, training)

    def scores(self) -> dict[str, Tensor]:
        return {name: alpha.detach() for name, alpha in self.alphas.items()}

    def watching(self, step: SearchStep) -> AbstractContextManager[None]:
        self.optimizer.zero_grad(set_to_none=True)
        return nullcontext()

    def penalty(self) -> Tensor:
        """mu * sum |alpha| over ReLUs: a gate counts as often as it has positions."""
        sums = [(alpha.abs() * self.sizes[name]).sum() for name, alpha in self.alphas.items()]
        return self.mu * torch.stack(sums).sum()

    def after_backward(self) -> None:
        alphas = list(self.alphas.values())
        gradients = [alpha.grad for alpha in alphas if alpha.grad is not None]
        for alpha, gradient in zip(alphas, average_over_processes(gradients), strict=True):
            alpha.grad = gradient
        self.optimizer.step()

    def end_epoch(self) -> Moved:
        moved = super().end_epoch()
        kept = sum(float(self.sizes[name][alpha > COUNTED].sum()) for name, alpha in self.scores().items())
        if kept < self.fewest:
            self.fewest = kept
        elif self.epoch >= FIRST_EPOCH:
            self.mu.mul_(GROWTH)
        return Moved(moved.distance, self.epoch >= self.course.epochs or kept <= self.chooser.total)

    def harden(self) -> None:
        for site in self.sites.values():
            site.gate = None

    def state_dict(self) -> dict[str, object]:
        own = {"alphas": self.scores(), "adam": self.optimizer.state_dict(), "mu": self.mu, "fewest": self.fewest}
        return {**super().state_dict(), **own}

    @torch.no_grad()
    def restore(self, stored: SNLRecord, is_main: bool) -> None:
        super().restore(stored, is_main)
        for name, alpha in self.alphas.items():
            alpha.copy_(stored.alphas[name])
        load_optimizer(self.optimizer, stored.adam)
        self.mu.fill_(stored.mu)
        self.fewest = stored.fewest


class SNL(SearchEntry):
    name = "snl"
    summary = "soft gates trained with the weights under a growing penalty, the largest kept (Cho et al., 2022)"
    search = SNLSearch
    shares = "search"
    schedules = ("once",)

    def add_options(self, group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--snl_mu", type=number, default=1e-5, metavar="MU", help="the penalty per ReLU at first (default: 1e-5)"
        )
        group.add_argument("--snl_rate", type=number, default=1e-3, help="Adam's rate for the gates (default: 1e-3)")

    def settle(self, options: Mapping[str, Any], views: Sequence[str]) -> dict[str, object]:
        return {"mu": options["snl_mu"], "rate": options["snl_rate"]}


ENTRY = SNL()
