"""ReLU pruning by a Taylor expansion of the loss (ReLUPruner, AAAI 2026): what leaving a ReLU out would cost."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from formats.checkpoint import SearchRecord, Tensors
from formats.record import Count, Text
from helper.command_line import positive
from helper.processes import average_over_processes
from masks.search import Course, MaskSearch, Moved, SearchEntry, SearchStep
from masks.selection import MaskChooser
from models.layers import relu_sites

# Decays of the averages over steps, of g^2 and of everything else.
CURVATURE_DECAY, DECAY = 0.99, 0.95
# The budget falls from an epoch of at most WARM_UP on, for this share of the epochs after it.
WARM_UP, FALLING = 5, 0.6


class TaylorRecord(SearchRecord):
    """`averages`: by site and kind; `steps`: done of this epoch."""

    averages: dict[Text, Tensors]
    steps: Count
    steps_per_epoch: Count


class TaylorSearch(MaskSearch):
    """Scores a position by v = mean |g x| P(x < 0) + mean(x^2) F / 2, times a weight of its layer.

    x is what enters a site and g the gradient of one image's loss behind it, over all views of the student's pass;
    F averages g^2, the loss's curvature. Averages are over images and, decaying, over steps; each factor is averaged by
    itself, so that several processes can add theirs up. The weight is minmax(I_l) + 0.1 with I_l = |g|_2 sqrt(mean F +
    1e-8) (1 + 0.2 l / (L - 1)); within a layer it changes nothing. Masks are set anew every `every` steps.
    """

    record = TaylorRecord

    def __init__(self, student: nn.Module, chooser: MaskChooser, course: Course, *, every: int):
        super().__init__(student, chooser, course)
        self.every = every
        self.steps = self.steps_per_epoch = 0
        device = next(student.parameters()).device
        sites = relu_sites(student)
        names = ("gx", "negative", "xx", "gg")
        self.averages = {
            name: {kind: torch.zeros(site.map_shape, device=device) for kind in names}
            | {"norm": torch.zeros((), device=device)}
            for name, site in sites.items()
        }

    @contextmanager
    def watching(self, step: SearchStep) -> Iterator[None]:
        # The loss is a mean over the images of a view: its gradient times their number is that of one image's loss.
        images = step.rows["clean"].stop - step.rows["clean"].start if "clean" in step.rows else None
        handles = [
            site.register_forward_hook(self._hook(name, images)) for name, site in relu_sites(self.student).items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str, images: int | None):
        def hook(site: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            x = inputs[0].detach()
            if output.requires_grad:
                output.register_hook(lambda gradient: self._take_in(name, x, gradient, images or len(x)))

        return hook

    @torch.no_grad()
    def _take_in(self, name: str, x: Tensor, gradient: Tensor, images: int) -> None:
        x, g = x.float(), gradient.float() * images
        averages = self.averages[name]
        averages["gx"].lerp_((g * x).abs().mean(0), 1 - DECAY)
        averages["negative"].lerp_((x < 0).float().mean(0), 1 - DECAY)
        averages["xx"].lerp_(x.square().mean(0), 1 - DECAY)
        averages["gg"].lerp_(g.square().mean(0), 1 - CURVATURE_DECAY)
        averages["norm"].lerp_(g.flatten(1).norm(dim=1).mean(), 1 - DECAY)

    def scores(self) -> dict[str, Tensor]:
        averages = self._averages()
        importance = [
            of["norm"] * (of["gg"].mean() + 1e-8).sqrt() * (1 + 0.2 * layer / max(1, len(averages) - 1))
            for layer, of in enumerate(averages.values())
        ]
        low, high = torch.aminmax(torch.stack(importance))
        return {
            name: (of["gx"] * of["negative"] + of["xx"] * of["gg"] / 2)
            * ((weight - low) / (high - low).clamp(min=1e-30) + 0.1)
            for (name, of), weight in zip(averages.items(), importance, strict=True)
        }

    def _averages(self) -> dict[str, dict[str, Tensor]]:
        """Over all processes."""
        return {
            name: dict(zip(of, average_over_processes(list(of.values())), strict=True))
            for name, of in self.averages.items()
        }

    def spare(self) -> float:
        """A cosine in p^1.5, p the share of the falling epochs that is over."""
        begun = self.epoch + self.steps / self.steps_per_epoch if self.steps_per_epoch else self.epoch
        if self.course.schedule == "once" or self.epoch >= self.course.epochs:
            return 0.0
        warm_up = min(WARM_UP, self.course.epochs / 10)
        p = (begun - warm_up) / (FALLING * (self.course.epochs - warm_up))
        return Course(1, schedule="cosine").spare(min(max(p, 0.0), 1.0) ** 1.5)

    def after_step(self) -> bool:
        self.steps += 1
        if self.steps % self.every or not self.steps_per_epoch:
            return False
        self.chooser.set_masks(self.student, self.scores(), self.spare())
        return True

    def end_epoch(self) -> Moved:
        self.steps, self.steps_per_epoch = 0, self.steps
        return super().end_epoch()

    def state_dict(self) -> dict[str, object]:
        own = {"averages": self._averages(), "steps": self.steps, "steps_per_epoch": self.steps_per_epoch}
        return {**super().state_dict(), **own}

    def restore(self, stored: TaylorRecord, is_main: bool) -> None:
        super().restore(stored, is_main)
        self.steps, self.steps_per_epoch = stored.steps, stored.steps_per_epoch
        for name, of in self.averages.items():
            for kind, average in of.items():
                average.copy_(stored.averages[name][kind])


class Taylor(SearchEntry):
    name = "taylor"
    summary = "what leaving a ReLU out would cost by a Taylor expansion of the loss (ReLUPruner, 2026)"
    search = TaylorSearch
    shares = "search"
    schedules = ("cosine", "once")

    def add_options(self, group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--taylor_every",
            type=positive,
            default=100,
            metavar="N",
            help="set the masks anew every N steps of an epoch, from the second on, and at its end (default: 100)",
        )

    def settle(self, options: Mapping[str, Any], views: Sequence[str]) -> dict[str, object]:
        return {"every": options["taylor_every"]}


ENTRY = Taylor()
