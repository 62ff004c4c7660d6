"""One path for one process and for many: torchrun's environment, or none.

Rank 0 writes. Collectives take CPU tensors too, also on CUDA machines, so that control messages never wait for a GPU.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from helper.errors import UserError


@dataclass(frozen=True)
class Processes:
    """Who we are among the processes of this run."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def start_processes(device: str) -> Processes:
    """Join the process group that torchrun's environment describes; without it, be the only process.

    `device` is 'auto' (CUDA where there is one), 'cpu' or 'cuda'. Raises UserError where CUDA is asked for and missing.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is visible; use --device cpu, or check CUDA_VISIBLE_DEVICES")
    on_cuda = device != "cpu" and torch.cuda.is_available()
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if on_cuda and local_rank >= torch.cuda.device_count():
        raise UserError(f"process {local_rank} of this machine has no GPU: {torch.cuda.device_count()} are visible")
    chosen = torch.device("cuda", local_rank) if on_cuda else torch.device("cpu")
    if on_cuda:
        torch.cuda.set_device(chosen)
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count > 1 and not dist.is_initialized():
        # torchrun's store outlives a restart, and holds the addresses of the dead: every attempt gets its own corner.
        store, rank, count = next(dist.rendezvous("env://"))
        store = dist.PrefixStore(f"attempt{restarts()}", store)
        backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count)
    return Processes(int(os.environ.get("RANK", 0)), count, chosen)


def restarts() -> int:
    """How often torchrun --max_restarts has brought this process back."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def sum_over_processes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sum of every tensor over all processes, as new tensors; the same bits on every process."""
    totals = [tensor.clone() for tensor in tensors]
    if dist.is_initialized():
        for total in totals:
            dist.all_reduce(total)
    return totals


def average_over_processes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The mean of every tensor over all processes; with one process the tensors themselves."""
    if not dist.is_initialized():
        return list(tensors)
    return [total / dist.get_world_size() for total in sum_over_processes(tensors)]


def any_process(flag: bool) -> bool:
    """Whether `flag` holds on any process. All processes must ask together."""
    if not dist.is_initialized():
        return flag
    asked = torch.tensor(int(flag))
    dist.all_reduce(asked, op=dist.ReduceOp.MAX)
    return bool(asked)


def on_main_process(produce: Callable[[], object]) -> object:
    """What `produce` gives on the main process, which alone calls it, on every process; likewise the error it raises.

    Other machines need not see the main one's files. Raises UserError for the user's and the disk's faults.
    """
    outcome: list = [None, None]
    if not dist.is_initialized() or dist.get_rank() == 0:
        try:
            outcome[0] = produce()
        except (UserError, OSError) as error:
            outcome[1] = str(error)
    if dist.is_initialized():
        dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise UserError(outcome[1])
    return outcome[0]


def wait_for_all() -> None:
    if dist.is_initialized():
        # An all-reduce rather than dist.barrier: a barrier on a CUDA group picks a device by itself.
        dist.all_reduce(torch.zeros(1))


def bar_options(processes: Processes) -> dict:
    """A bar for the main process only, and not for what is over in no time; in a log file a line every half minute."""
    interval = 0.5 if sys.stderr.isatty() else 30
    return {"disable": not processes.is_main, "mininterval": interval, "delay": interval, "leave": False}
