"""ReLU budgets and the masks that spend them (SENet: Kundu et al., ICLR 2023, arXiv 2301.09254).

A budget is a number k_l of ReLUs per layer. A mask keeps exactly k_l positions of its layer, ties broken by position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from helper.acceleration import at_least_float32
from helper.distributed import sum_over_processes
from helper.errors import UserError
from models.layers import relu_sites


@dataclass(frozen=True)
class ReluCount:
    """ReLUs of one layer: its map (C, H, W), how many that makes, and how many the mask keeps."""

    layer: str
    shape: tuple[int, int, int]
    total: int
    kept: int


def relu_counts(model: nn.Module) -> list[ReluCount]:
    """The table per layer, in forward order; the totals are the sums of its columns."""
    return [ReluCount(name, site.map_shape, site.total, site.kept) for name, site in relu_sites(model).items()]


def relu_totals(model: nn.Module) -> tuple[int, int]:
    """(kept, total) ReLUs of the network."""
    counts = relu_counts(model)
    return sum(count.kept for count in counts), sum(count.total for count in counts)


def check_layers(found: int, model: nn.Module, what: str) -> None:
    """Raise UserError unless `found`, the length of a list that `what` names, is the number of ReLU layers."""
    layers = len(relu_sites(model))
    if found != layers:
        raise UserError(f"{what} names {found} ReLU layers, this network has {layers}")


def budget_from_fractions(model: nn.Module, fractions: Sequence[float], source: str) -> list[int]:
    """k_l = floor(s_l * C*H*W) for every layer. Raises UserError for a list of another length or outside [0, 1]."""
    check_layers(len(fractions), model, source)
    for fraction in fractions:
        if not 0 <= fraction <= 1:
            raise UserError(f"{source}: {fraction} is no fraction between 0 and 1")
    return [
        math.floor(fraction * site.total) for fraction, site in zip(fractions, relu_sites(model).values(), strict=True)
    ]


def allocate_budget(model: nn.Module, total: int, profile: Sequence[float]) -> list[int]:
    """Exactly `total` ReLUs as k_l = min(N_l, kappa * eta_l), `profile` being eta, with kappa solved for the total.

    What flooring leaves over goes to the layers with the largest remainders. Raises UserError for a total that the
    network does not have.
    """
    check_layers(len(profile), model, "the sensitivity profile")
    sizes = [site.total for site in relu_sites(model).values()]
    if not 0 <= total <= sum(sizes):
        raise UserError(f"--relu_budget {total}: this network has {sum(sizes)} ReLUs")
    # A layer fills up at kappa = N_l / eta_l; settle layers in that order, until kappa stays below the next one's.
    order = sorted(range(len(sizes)), key=lambda layer: sizes[layer] / profile[layer])
    left, weight = total, sum(profile)
    shares = [0.0] * len(sizes)
    for position, layer in enumerate(order):
        if left * profile[layer] < sizes[layer] * weight:
            for open_layer in order[position:]:
                shares[open_layer] = left * profile[open_layer] / weight
            break
        shares[layer] = sizes[layer]
        left, weight = left - sizes[layer], weight - profile[layer]
    budget = [min(size, math.floor(share)) for size, share in zip(sizes, shares, strict=True)]
    by_remainder = sorted(range(len(sizes)), key=lambda layer: budget[layer] - shares[layer])
    while (missing := total - sum(budget)) > 0:
        for layer in [layer for layer in by_remainder if budget[layer] < sizes[layer]][:missing]:
            budget[layer] += 1
    return budget


def interpolate_profile(profile: Sequence[float], layers: int) -> list[float]:
    """`profile`, a function of relative depth, read at `layers` evenly spaced depths."""
    last = len(profile) - 1
    result = []
    for layer in range(layers):
        depth = layer * last / max(layers - 1, 1)
        below = min(int(depth), last - 1)
        result.append(profile[below] + (depth - below) * (profile[below + 1] - profile[below]))
    return result


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """A bool mask of the shape of `scores` that keeps exactly `count` positions, ties broken by position."""
    order = scores.flatten().sort(descending=True, stable=True).indices
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[order[:count]] = True
    return mask.view_as(scores)


def set_random_masks(model: nn.Module, budget: Sequence[int], seed: int) -> None:
    """k_l random positions per layer, drawn over (C, H, W); the same on every process and device."""
    generator = torch.Generator().manual_seed(seed)
    for site, count in zip(relu_sites(model).values(), budget, strict=True):
        site.set_mask(keep_largest(torch.rand(site.map_shape, generator=generator), count))


def masks_of(model: nn.Module) -> dict[str, Tensor]:
    """The mask of every layer as bool (C, H, W), to be read only: positions of a mask over channels share memory."""
    return {name: site.mask.expand(site.map_shape) for name, site in relu_sites(model).items()}


def hamming_distance(masks: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> float:
    """The share of positions, over all layers, in which two sets of masks differ: 0 to 1.

    Of a (C, 1, 1) and a (C, H, W) mask, each channel of the first counts at all of its positions.
    """
    differing = total = 0
    for name in masks:
        one, other = torch.broadcast_tensors(masks[name], others[name])
        differing += int((one != other).sum())
        total += one.numel()
    return differing / total


@contextmanager
def watch_sites(model: nn.Module, see: Callable[[str, Tensor], None], *, before_relu: bool = False) -> Iterator[None]:
    """Within the context, every forward pass shows the output (or input) of every MaskedReLU to `see(name, map)`."""

    def watch(name: str):
        def hook(site: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            see(name, (inputs[0] if before_relu else output).detach())

        return hook

    handles = [site.register_forward_hook(watch(name)) for name, site in relu_sites(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def site_maps(model: nn.Module, *, before_relu: bool = False) -> Iterator[dict[str, Tensor]]:
    """Within the context, every forward pass leaves the output (or input) of every MaskedReLU in the dict, by name."""
    maps: dict[str, Tensor] = {}
    with watch_sites(model, maps.__setitem__, before_relu=before_relu):
        yield maps


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
