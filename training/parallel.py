"""A network that several processes train as one: averaged gradients, batch statistics over all of them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from helper.processes import Processes
from models.layers import BranchNorm2d, Network


class _Average(torch.autograd.Function):
    """The average over all processes; the gradient is averaged likewise."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        total = tensor.contiguous().clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Average.apply(gradient)


def synchronise_batch_norm(model: nn.Module) -> None:
    """Let every BranchNorm2d take its batch statistics over all processes."""
    if dist.is_initialized():
        for module in model.modules():
            if isinstance(module, BranchNorm2d):
                module.average, module.processes = _Average.apply, dist.get_world_size()


def broadcast_statistics(model: nn.Module) -> None:
    """Running batch-norm statistics as the main process has them, on every process."""
    if dist.is_initialized():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                for buffer in module.buffers():
                    dist.broadcast(buffer, src=0)


class WithFeatures(nn.Module):
    """`forward` is the network's `forward_features`: DistributedDataParallel only watches `forward`."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.network.forward_features(x)


def data_parallel(model: Network, processes: Processes) -> nn.Module:
    """A callable images -> (logits, features) whose gradients are averaged over the processes."""
    wrapped = WithFeatures(model)
    if processes.count == 1:
        return wrapped
    # Buffers stay apart: batch statistics are either synchronised in the layer, or broadcast before they are used.
    return nn.parallel.DistributedDataParallel(
        wrapped,
        device_ids=[processes.device.index] if processes.device.type == "cuda" else None,
        broadcast_buffers=False,
    )
