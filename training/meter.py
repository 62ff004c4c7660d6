"""Means over the steps and processes of an epoch, and the guard against losses that are not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from helper.errors import UserError
from helper.processes import sum_over_processes


class EpochMeter:
    """Sums stay on the device, each in one tensor for good; only `means` reads them. All processes must ask for it."""

    def __init__(self, device: torch.device):
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.watched: tuple[str, ...] = ()
        self.first_bad: Tensor | None = None

    def add(self, name: str, total: Tensor, count: int = 1) -> None:
        """`total` is a scalar tensor: a sum over `count` things."""
        if name not in self.sums:
            self.sums[name] = torch.zeros(2, dtype=torch.float64, device=self.device)
        # A tensor of Python's numbers would be a copy to the device, which waits for it.
        counted = torch.full((), count, dtype=torch.float64, device=self.device)
        self.sums[name] += torch.stack([total.detach().double(), counted])

    def watch(self, terms: Mapping[str, Tensor]) -> None:
        """Remember which terms were not finite in the first step in which any was not; always the same terms."""
        bad = torch.stack([value.detach() for value in terms.values()]).isfinite().logical_not_()
        if self.first_bad is None:
            self.watched, self.first_bad = tuple(terms), torch.zeros_like(bad)
        self.first_bad |= bad & ~self.first_bad.any()

    def reset(self) -> None:
        """Begin the next epoch, in the same tensors."""
        for total in self.sums.values():
            total.zero_()
        if self.first_bad is not None:
            self.first_bad.zero_()

    def means(self) -> dict[str, float]:
        """Every mean so far. Raises UserError, naming the terms, when a loss has not been finite."""
        if self.first_bad is not None:
            (counts,) = sum_over_processes([self.first_bad.int()])
            bad = [name for name, count in zip(self.watched, counts.tolist(), strict=True) if count]
            if bad:
                raise UserError(
                    f"the loss is not finite, first in {', '.join(bad)}; the last good checkpoint is kept. "
                    "Lower --learning_rate or the weight of that term, and go on with --resume auto"
                )
        if not self.sums:
            return {}
        (totals,) = sum_over_processes([torch.stack(list(self.sums.values()))])
        return {name: total / count for name, (total, count) in zip(self.sums, totals.tolist(), strict=True) if count}

    def state_dict(self) -> dict[str, Tensor]:
        """The sums over all processes. Every process must ask."""
        return dict(zip(self.sums, sum_over_processes(list(self.sums.values())), strict=True))

    def load_state_dict(self, state: Mapping[str, Tensor], is_main: bool) -> None:
        """Go on from all processes' sums: the main process takes them, the others start at 0.

        Raises ValueError for what are no sums.
        """
        for name, total in state.items():
            if total.shape != (2,) or total.dtype != torch.float64 or not total.isfinite().all():
                raise ValueError(f"{name} is no sum and its count")
        self.sums = {name: total.to(self.device) * float(is_main) for name, total in state.items()}
