"""What stage 1 asks of a mask search. `SearchEntry`: an entry, all there is to know of one; `MaskSearch`: one at work.

One search is one file of this folder, which holds its entry at the top level. Options, help, steps, epochs and
checkpoints ask the entry and the search; no other file knows a search by its name.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from torch import Tensor, nn

from formats.checkpoint import SearchRecord
from helper.registry import discover
from masks.counting import hamming_distance, masks_of
from masks.selection import MaskChooser

SCHEDULES = ("once", "cosine")


@dataclass(frozen=True)
class Course:
    """How a search goes: for `epochs`, or until less than `tolerance` of the positions changed in each of `patience`
    epochs in a row. `schedule`: 'once', at the budget from the first masks on; 'cosine', lowered to it meanwhile.
    """

    epochs: int
    patience: int = 5
    tolerance: float = 0.001
    schedule: str = SCHEDULES[0]

    def spare(self, epoch: float) -> float:
        """The share of what the budget drops that is still kept after so many epochs: 1 to 0."""
        if self.schedule == "once" or epoch >= self.epochs:
            return 0.0
        return (1 + math.cos(math.pi * epoch / self.epochs)) / 2


@dataclass(frozen=True)
class SearchStep:
    """The forward pass of one training step. `rows`: the rows of it that each view takes.

    `teacher_maps`: view -> site -> post-ReLU map (B, C, H, W) of the teacher on the very images, of the views that the
    search asks for. Whoever has done with a map takes it out: kept, they took a sixth of resnet8's memory.
    """

    rows: Mapping[str, slice]
    teacher_maps: Mapping[str, dict[str, Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Moved:
    """What an epoch did to the masks: the share of positions that changed, and whether they are the last ones."""

    distance: float
    settled: bool


class MaskSearch:
    """Scores every position (or channel, or layer) of `student`'s ReLUs while it trains, and sets its masks by them.

    A subclass gives `scores`, and overrides what else it needs. `views`: those whose teacher maps it asks for;
    `record`: what its `state_dict` is in a file. While it searches, it may put soft gates into the student
    (`MaskedReLU.gate`); the masks below are then what the gates would harden to.
    """

    views: tuple[str, ...] = ()
    record: type[SearchRecord] = SearchRecord

    def __init__(self, student: nn.Module, chooser: MaskChooser, course: Course):
        self.student, self.chooser, self.course = student, chooser, course
        self.epoch = self.calm_epochs = 0

    def scores(self) -> Mapping[str, Tensor]:
        """Of every site, (C, H, W) or the chooser's units; the largest are kept. The same on every process."""
        raise NotImplementedError

    def watching(self, step: SearchStep) -> AbstractContextManager[None]:
        """Within the context the student makes its forward pass of a training step."""
        return nullcontext()

    def penalty(self) -> Tensor | None:
        """What the search adds to the loss."""
        return None

    def after_backward(self) -> None:
        """Gradients are there, the student's weights not yet updated. Part of what a CUDA graph records."""

    def after_step(self) -> bool:
        """The step is done; whether that has changed the masks. Never recorded."""
        return False

    def spare(self) -> float:
        """The share of what the budget drops that is still kept, now that `epoch` epochs are over."""
        return self.course.spare(self.epoch)

    def end_epoch(self) -> Moved:
        """Set the student's masks, and say how it stands. Every process must ask."""
        before = {name: mask.clone() for name, mask in masks_of(self.student).items()}
        self.epoch += 1
        spare = self.spare()
        self.chooser.set_masks(self.student, self.scores(), spare)
        distance = hamming_distance(masks_of(self.student), before)
        self.calm_epochs = self.calm_epochs + 1 if distance < self.course.tolerance and not spare else 0
        return Moved(distance, self.epoch >= self.course.epochs or self.calm_epochs >= self.course.patience)

    def harden(self) -> None:
        """Take everything out of the student but its masks."""

    def state_dict(self) -> dict[str, object]:
        """Over all processes. Every process must ask."""
        return {"epoch": self.epoch, "calm_epochs": self.calm_epochs}

    def load_state_dict(self, state: Mapping[str, object], is_main: bool) -> None:
        """Go on from what `state_dict` gave. Raises ValueError for what is no `record` of this search."""
        self.restore(self.record.model_validate(dict(state)), is_main)

    def restore(self, stored: Any, is_main: bool) -> None:
        """Go on from a `record`; of its sums over all processes the main one takes all, and the others nothing."""
        self.epoch, self.calm_epochs = stored.epoch, stored.calm_epochs


class SearchEntry:
    """A mask search as the rest of the house knows it. Entries set what differs.

    name: for --mask_search. summary: a few words in --help. search: the class that does it, called with the student,
    a MaskChooser, a Course and, by name, the search's own settings.
    """

    name: str
    summary: str
    search: type[MaskSearch]
    # Who shares a total out over the layers, as a rule: the sensitivity profile, or the search itself.
    shares = "profile"
    # What --budget_schedule may be, the default first.
    schedules: tuple[str, ...] = SCHEDULES
    order = 0

    def add_options(self, group: argparse._ArgumentGroup) -> None:
        """The options that this search has for itself."""

    def settle(self, options: Mapping[str, Any], views: Sequence[str]) -> dict[str, object]:
        """The search's own settings, by name, from the options' values. UserError where it has no view to see."""
        return {}


@cache
def searches() -> dict[str, SearchEntry]:
    """All mask searches by their names, the default first."""
    return discover("masks", SearchEntry)
