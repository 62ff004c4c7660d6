"""The mask search of SENet (Kundu et al., ICLR 2023, arXiv 2301.09254): where teacher and student differ most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from helper.precision import at_least_float32
from helper.processes import sum_over_processes
from masks.counting import hamming_distance, masks_of
from masks.selection import keep_largest
from models.layers import relu_sites


class FeatureDifferenceSearch:
    """Stage 1's observer: adds up |teacher - student| at every site over an epoch, then keeps the largest sums.

    `view` is the one whose maps are compared, 'clean' or 'adv'. The teacher's map is its post-ReLU map. The student's
    is, with `before_relu`, the value that enters its site: the sum then says what it costs to leave the ReLU out there,
    whether the mask of the hour has it or not. Without, it is the published one, the student's post-ReLU map; but a
    position that has its ReLU is thereby close to the teacher, gives its ReLU up at the end of the epoch, and gets it
    back after the next: the masks swing between two states.

    Another way to search for a mask is another class with these methods; the scripts and the engine know no more of it.
    """

    def __init__(self, student: nn.Module, budget: Sequence[int], view: str, *, before_relu: bool = True):
        self.student = student
        self.budget = list(budget)
        self.view = view
        self.before_relu = before_relu
        self.sums = {
            name: torch.zeros(site.map_shape, device=site.mask.device) for name, site in relu_sites(student).items()
        }

    @torch.no_grad()
    def observe(self, teacher_maps: Mapping[str, Tensor], student_maps: Mapping[str, Tensor]) -> None:
        """Take in maps (B, C, H, W) of the same images, at some sites or at all."""
        for name, teacher_map in teacher_maps.items():
            self.sums[name] += (at_least_float32(teacher_map) - student_maps[name]).abs().sum(0)

    def update_masks(self) -> float:
        """Set the student's masks from the sums over all processes, and start anew. Returns the Hamming distance."""
        before = {name: mask.clone() for name, mask in masks_of(self.student).items()}
        totals = self.state_dict()
        for (name, site), count in zip(relu_sites(self.student).items(), self.budget, strict=True):
            site.set_mask(keep_largest(totals[name], count))
            self.sums[name].zero_()
        return hamming_distance(masks_of(self.student), before)

    def state_dict(self) -> dict[str, Tensor]:
        """The sums over all processes so far. Every process must ask."""
        return dict(zip(self.sums, sum_over_processes(list(self.sums.values())), strict=True))

    def load_state_dict(self, state: Mapping[str, Tensor], is_main: bool) -> None:
        """Go on from `state`, which holds all processes' sums: the main process takes them, the others start at 0."""
        for name, total in self.sums.items():
            total.copy_(state[name]) if is_main else total.zero_()
