"""Means over the steps and processes of an epoch, and the guard against losses that are not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from helper.distributed import sum_over_processes
from helper.errors import UserError


class EpochMeter:
    """Sums stay on the device; only `means` reads them, and all processes must ask it together."""

    def __init__(self, device: torch.device):
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.first_bad: dict[str, Tensor] | None = None

    def add(self, name: str, total: Tensor, count: int = 1) -> None:
        """`total` is a scalar tensor: a sum over `count` things."""
        pair = torch.stack([total.detach().double(), total.new_tensor(count, dtype=torch.float64)])
        self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def watch(self, terms: Mapping[str, Tensor]) -> None:
        """Remember which terms were not finite in the first step in which any was not."""
        bad = {name: ~torch.isfinite(value.detach()) for name, value in terms.items()}
        if self.first_bad is None:
            self.first_bad = bad
        else:
            seen = torch.stack(list(self.first_bad.values())).any()
            self.first_bad = {name: torch.where(seen, self.first_bad[name], bad[name]) for name in bad}

    def means(self) -> dict[str, float]:
        """Every mean so far. Raises UserError, naming the terms, when a loss has not been finite."""
        names = list(self.first_bad or {})
        if names:
            (counts,) = sum_over_processes([torch.stack([self.first_bad[name] for name in names]).int()])
            bad = [name for name, count in zip(names, counts.tolist(), strict=True) if count]
            if bad:
                raise UserError(
                    f"the loss is not finite, first in {', '.join(bad)}; the last good checkpoint is kept. "
                    "Lower --learning_rate or the weight of that term, and go on with --resume auto"
                )
        if not self.sums:
            return {}
        (totals,) = sum_over_processes([torch.stack(list(self.sums.values()))])
        return {name: total / count for name, (total, count) in zip(self.sums, totals.tolist(), strict=True)}

    def state_dict(self) -> dict[str, Tensor]:
        """The sums over all processes. Every process must ask."""
        return dict(zip(self.sums, sum_over_processes(list(self.sums.values())), strict=True))

    def load_state_dict(self, state: Mapping[str, Tensor], is_main: bool) -> None:
        """Go on from all processes' sums: the main process takes them, the others start at 0."""
        self.sums = {name: total.to(self.device) * float(is_main) for name, total in state.items()}
