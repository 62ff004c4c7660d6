"""Masks that keep exactly so many ReLUs: by position, or to the nearest whole channel or layer. Ties go by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from helper.errors import UserError
from models.layers import MaskedReLU, relu_sites

# What a mask keeps or drops as a whole.
GRANULARITIES = ("position", "channel", "layer")


class MaskChooser:
    """Turns scores into masks that keep `budget` ReLUs per layer, or, where `shared`, its sum wherever scores are best.

    The units of a `granularity` are kept whole: what they leave over, or take too much, in one layer goes to the next
    one's account, so that the total is met to the nearest unit; but a layer whose budget is 0 stays closed.
    `parent`, where there is one, holds a mask for every site, and the masks chosen are subsets of it.
    """

    def __init__(
        self,
        budget: Sequence[int],
        granularity: str = "position",
        *,
        shared: bool = False,
        parent: Mapping[str, Tensor] | None = None,
    ):
        self.budget, self.granularity, self.parent, self.shared = tuple(budget), granularity, parent, shared

    @property
    def total(self) -> int:
        return sum(self.budget)

    def unit_shape(self, site: MaskedReLU) -> tuple[int, int, int]:
        """(C, H, W), (C, 1, 1) or (1, 1, 1), which broadcasts to the site's map: one value for each unit."""
        channels = site.map_shape[0]
        return {"position": site.map_shape, "channel": (channels, 1, 1), "layer": (1, 1, 1)}[self.granularity]

    def allowed(self, name: str, site: MaskedReLU, device: torch.device) -> Tensor:
        """bool (C, H, W) or (C, 1, 1): where a mask may be true."""
        if self.parent is not None:
            return self.parent[name].to(device)
        shape = site.map_shape if self.granularity == "position" else (site.map_shape[0], 1, 1)
        return torch.ones(shape, dtype=torch.bool, device=device)

    def set_masks(self, model: nn.Module, scores: Mapping[str, Tensor], spare: float = 0.0) -> None:
        """Keep the units with the largest scores, which are (C, H, W), then averaged over units, or one for each unit.

        `spare`: the share, 0 to 1, of what the budget would drop that is kept nevertheless. Raises UserError for NaN.
        """
        sites = relu_sites(model)
        units = {name: self.units(name, site, scores[name]) for name, site in sites.items()}
        pools = [list(units)] if self.shared else [[name] for name in units]
        budgets = [self.total] if self.shared else self.budget
        over = 0
        for pool, budget in zip(pools, budgets, strict=True):
            values, sizes = (torch.cat([units[name][part].flatten() for name in pool]) for part in (0, 1))
            carried = over if budget else 0
            wanted = budget + carried + round((int(sizes.sum()) - budget) * spare)
            kept = fill_budget(values, sizes, wanted)
            over += wanted - carried - int(sizes[kept].sum())
            for name, part in zip(pool, kept.split([units[name][0].numel() for name in pool]), strict=True):
                mask = part.view(self.unit_shape(sites[name])) & self.allowed(name, sites[name], part.device)
                sites[name].set_mask(mask)

    def set_random_masks(self, model: nn.Module, seed: int, spare: float = 0.0) -> None:
        """Random units; the same on every process and device."""
        generator = torch.Generator().manual_seed(seed)
        scores = {
            name: torch.rand(self.unit_shape(site), generator=generator) for name, site in relu_sites(model).items()
        }
        self.set_masks(model, scores, spare)

    def remark(self, model: nn.Module) -> str | None:
        """What to say of masks that keep another number than the budget."""
        kept = sum(site.kept for site in relu_sites(model).values())
        if kept == self.total:
            return None
        return f"in whole {self.granularity}s the masks keep {kept:,} ReLUs instead of {self.total:,}"

    def units(self, name: str, site: MaskedReLU, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Score and number of ReLUs of every unit of a site. Raises UserError for NaN."""
        if scores.isnan().any():
            raise UserError(
                f"the mask search's scores of {name} hold NaN: the training has come apart; lower --learning_rate"
            )
        shape = self.unit_shape(site)
        allowed = self.allowed(name, site, scores.device).expand(site.map_shape)
        sizes = allowed.long().sum_to_size(shape)
        if tuple(scores.shape) != shape:
            scores = (scores * allowed).sum_to_size(shape) / sizes.clamp(min=1)
        return scores, sizes


def fill_budget(scores: Tensor, sizes: Tensor, budget: int) -> Tensor:
    """bool (n,): units by falling score as long as they fit into `budget`; then a smallest one, if that comes nearer.

    scores (n,); sizes (n,): ReLUs of each unit, of which those of size 0 are never kept. Ties are broken by position.
    """
    candidates = sizes.nonzero().squeeze(1)
    order = candidates[scores[candidates].sort(descending=True, stable=True).indices]
    kept = torch.zeros(len(scores), dtype=torch.bool, device=scores.device)
    if not len(order):
        return kept
    sizes = sizes[order]
    smallest, largest = (int(size) for size in torch.aminmax(sizes))
    if smallest == largest:
        kept[order[: max(0, (2 * budget + smallest) // (2 * smallest))]] = True
        return kept
    left, taken = budget, []
    for size in sizes.tolist():
        taken.append(size <= left)
        left -= size if taken[-1] else 0
    rest = [size for size, took in zip(sizes.tolist(), taken, strict=True) if not took]
    if rest and min(rest) <= 2 * left:
        taken[next(i for i, took in enumerate(taken) if not took and sizes[i] == min(rest))] = True
    kept[order] = torch.tensor(taken, device=scores.device)
    return kept


def keep_largest(scores: Tensor, count: int) -> Tensor:
    """A bool mask of the shape of `scores` that keeps exactly `count` positions, ties broken by position."""
    flat = scores.flatten()
    return fill_budget(flat, torch.ones_like(flat, dtype=torch.long), count).view_as(scores)


def set_random_masks(model: nn.Module, budget: Sequence[int], seed: int) -> None:
    """k_l random positions per layer, drawn over (C, H, W); the same on every process and device."""
    MaskChooser(budget).set_random_masks(model, seed)
