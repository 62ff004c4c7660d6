"""The mask search of SENet (Kundu et al., ICLR 2023, arXiv 2301.09254): where teacher and student differ most."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from formats.checkpoint import SearchRecord, Tensors
from helper.errors import UserError
from helper.precision import at_least_float32
from helper.processes import sum_over_processes
from masks.search import Course, MaskSearch, Moved, SearchEntry, SearchStep
from masks.selection import MaskChooser
from masks.watching import watch_sites
from models.layers import relu_sites

COMPARED_VIEW = {"feat_diff_nat": "clean", "feat_diff_adv": "adv"}


class FeatureGapRecord(SearchRecord):
    """`sums`: of an epoch so far, over all processes, by site."""

    sums: Tensors


class FeatureGapSearch(MaskSearch):
    """Adds up |teacher - student| at every position over an epoch, trained under fixed masks; keeps the largest sums.

    `view` is the one whose maps are compared, 'clean' or 'adv'. The teacher's map is its post-ReLU map. The student's
    is, with `before_relu`, the value that enters its site: the sum then says what it costs to leave the ReLU out there,
    whether the mask of the hour has it or not. Without, it is the published one, the student's post-ReLU map; but a
    position that has its ReLU is thereby close to the teacher, gives its ReLU up at the end of the epoch, and gets it
    back after the next: the masks swing between two states.
    """

    record = FeatureGapRecord

    def __init__(
        self,
        student: nn.Module,
        chooser: MaskChooser,
        course: Course,
        *,
        view: str = "clean",
        before_relu: bool = True,
    ):
        super().__init__(student, chooser, course)
        self.view, self.views, self.before_relu = view, (view,), before_relu
        self.sums = {
            name: torch.zeros(site.map_shape, device=site.mask.device) for name, site in relu_sites(student).items()
        }

    def watching(self, step: SearchStep) -> AbstractContextManager[None]:
        """Each map is compared as soon as it is there, and the teacher's let go."""
        rows, teacher_maps = step.rows[self.view], step.teacher_maps[self.view]

        def compare(name: str, student_map: Tensor) -> None:
            self.observe({name: teacher_maps.pop(name)}, {name: student_map[rows]})

        return watch_sites(self.student, compare, before_relu=self.before_relu)

    @torch.no_grad()
    def observe(self, teacher_maps: Mapping[str, Tensor], student_maps: Mapping[str, Tensor]) -> None:
        """Take in maps (B, C, H, W) of the same images, at some sites or at all."""
        for name, teacher_map in teacher_maps.items():
            self.sums[name] += (at_least_float32(teacher_map) - student_maps[name]).abs().sum(0)

    def scores(self) -> dict[str, Tensor]:
        return dict(zip(self.sums, sum_over_processes(list(self.sums.values())), strict=True))

    def end_epoch(self) -> Moved:
        moved = super().end_epoch()
        for total in self.sums.values():
            total.zero_()
        return moved

    def state_dict(self) -> dict[str, object]:
        return {**super().state_dict(), "sums": self.scores()}

    def restore(self, stored: FeatureGapRecord, is_main: bool) -> None:
        super().restore(stored, is_main)
        for name, total in self.sums.items():
            total.copy_(stored.sums[name]) if is_main else total.zero_()


class FeatureGap(SearchEntry):
    name = "feature_gap"
    summary = "positions where the maps of teacher and student differ most over an epoch"
    search = FeatureGapSearch
    order = -1

    def add_options(self, group: argparse._ArgumentGroup) -> None:
        group.add_argument(
            "--mask_calculation",
            choices=COMPARED_VIEW,
            default="feat_diff_nat",
            help="compare the maps of clean images (default) or of adversarial ones",
        )
        group.add_argument(
            "--student_maps",
            choices=("before_relu", "after_relu"),
            default="before_relu",
            help="compare the teacher's post-ReLU maps with what enters the student's ReLU sites (default: it "
            "converges), or with what leaves them, as published (the masks then swing between two states)",
        )

    def settle(self, options: Mapping[str, Any], views: Sequence[str]) -> dict[str, object]:
        view = COMPARED_VIEW[options["mask_calculation"]]
        if view not in views:
            chosen = options["mask_calculation"]
            raise UserError(f"--mask_calculation {chosen} needs the {view} view; add --attack_mode pgd")
        return {"view": view, "before_relu": options["student_maps"] == "before_relu"}


ENTRY = FeatureGap()
