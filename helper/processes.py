"""One path for one process and for many: torchrun's environment, or none.

Rank 0 writes. Collectives take CPU tensors too, also on CUDA machines, so that control messages never wait for a GPU.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from helper.errors import UserError, fault_in_words
from helper.text import count

PATIENCE = 300  # seconds that the processes of a run wait for one another; RLNET_RENDEZVOUS_SECONDS says otherwise
MOST = 2**16  # processes
Product = TypeVar("Product")


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

    `device` is 'auto' (CUDA where there is one), 'cpu' or 'cuda'. Raises UserError where CUDA is asked for and missing,
    for an environment that torchrun would not leave, and where the others do not come within PATIENCE.
    """
    count = setting("WORLD_SIZE", 1, MOST, default=1)
    rank = setting("RANK", 0, count - 1, default=0 if count == 1 else None)
    local_rank = setting("LOCAL_RANK", 0, count - 1, default=0)
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device is visible; use --device cpu, or check CUDA_VISIBLE_DEVICES")
    on_cuda = device != "cpu" and torch.cuda.is_available()
    if on_cuda and local_rank >= torch.cuda.device_count():
        raise UserError(f"process {local_rank} of this machine has no GPU: {torch.cuda.device_count()} are visible")
    chosen = torch.device("cuda", local_rank) if on_cuda else torch.device("cpu")
    if on_cuda:
        torch.cuda.set_device(chosen)
    if count > 1 and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
        dist.init_process_group(backend, store=meeting_place(rank, count), rank=rank, world_size=count)
    return Processes(rank, count, chosen)


def setting(name: str, lowest: int, highest: int, default: int | None = None) -> int:
    """A whole number of the environment. Raises UserError for another one, and where it is missing without default."""
    text = os.environ.get(name, "").strip()
    if not text and default is not None:
        return default
    if not text:
        raise UserError(f"{name} is not set, but WORLD_SIZE is: torchrun sets both; to run alone, unset WORLD_SIZE")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and lowest <= int(text) <= highest):
        raise UserError(f"{name}={text[:20]} in the environment is no whole number from {lowest} to {highest}")
    return int(text)


def restarts() -> int:
    """How often torchrun --max_restarts has brought this process back."""
    return setting("TORCHELASTIC_RESTART_COUNT", 0, 10**9 - 1, default=0)


def meeting_place(rank: int, count: int) -> dist.Store:
    """What all `count` processes of the run read and write, once all are there. Raises UserError where some are not."""
    host, port = os.environ.get("MASTER_ADDR", "").strip(), setting("MASTER_PORT", 1, 2**16 - 1)
    if not host:
        raise UserError("MASTER_ADDR is not set, but WORLD_SIZE is: torchrun sets both; to run alone, unset WORLD_SIZE")
    patience = setting("RLNET_RENDEZVOUS_SECONDS", 1, 10**6, default=PATIENCE)
    by_torchrun = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    # torchrun's own process holds the store, or else process 0 of the run.
    here = rank == 0 and not by_torchrun
    check_address(host, port, here)
    if not here:
        await_answer(host, port, patience)
    store = open_store(host, port, here, patience)
    # torchrun's store outlives a restart, and holds the addresses of the dead: every attempt gets its own corner.
    store = dist.PrefixStore(f"attempt{restarts()}", store)
    if store.add(f"here{rank}", 1) > 1 and not by_torchrun:
        raise UserError(f"RANK={rank}: another process of the run at {host}:{port} says that it is this one")
    end, absent = time.monotonic() + patience, list(range(count))
    while absent := [other for other in absent if not store.check([f"here{other}"])]:
        if time.monotonic() > end:
            others = ", ".join(map(str, absent[:9]))
            raise UserError(f"waited {patience} s at {host}:{port} for process {others} of the {count} of WORLD_SIZE")
        time.sleep(0.1)
    return store


def open_store(host: str, port: int, here: bool, patience: float) -> dist.Store:
    """The store at this address. Raises UserError where something else answers there, or does not say a word."""
    found: list[dist.Store | RuntimeError] = []

    def enter() -> None:
        name, waiting = "127.0.0.1" if here else host, timedelta(seconds=patience)
        try:
            found.append(
                dist.TCPStore(name, port, is_master=here, timeout=waiting, wait_for_workers=False, multi_tenant=here)
            )
        except RuntimeError as error:
            found.append(error)

    # Beside this thread, for torch itself waits for ever for the first word.
    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    thread.join(patience)
    if found and not isinstance(found[0], RuntimeError):
        return found[0]
    reason = str(found[0]).partition("\n")[0] if found else "not a word of it"
    raise UserError(f"what answers at MASTER_ADDR={host}, MASTER_PORT={port} is no process of this run ({reason})")


def check_address(host: str, port: int, here: bool) -> None:
    """Raise UserError for a host that nobody knows, and where we are to listen `here` and cannot."""
    try:
        socket.getaddrinfo(host, port)
        if here:
            with socket.socket() as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the store does
                server.bind(("", port))
    except (socket.gaierror, UnicodeError) as error:
        raise UserError(f"MASTER_ADDR={host[:80]} is no known host ({error})") from error
    except OSError as error:
        raise UserError(f"MASTER_PORT={port}: {error.strerror}; choose another port") from error


def await_answer(host: str, port: int, patience: float) -> None:
    """Raise UserError unless somebody listens there within `patience` seconds."""
    end = time.monotonic() + patience
    while True:
        left = end - time.monotonic()
        try:
            socket.create_connection((host, port), timeout=max(left, 0.1)).close()
            return
        except OSError as error:
            if left <= 0:
                raise UserError(
                    f"nobody answered at MASTER_ADDR={host}, MASTER_PORT={port} within {patience} s "
                    f"({error.strerror or error}); process 0 of the run should listen there"
                ) from error
        time.sleep(0.2)


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


def on_main_process(produce: Callable[[], Product]) -> Product:
    """What `produce` gives on the main process, which alone calls it, on every process; likewise the error it raises.

    Other machines need not see the main one's files. Raises UserError for the user's and the disk's faults.
    """
    outcome: list = [None, None]
    if not dist.is_initialized() or dist.get_rank() == 0:
        try:
            outcome[0] = produce()
        except (UserError, OSError) as error:
            outcome[1] = fault_in_words(error)
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


def device_in_words(processes: Processes) -> str:
    """'cpu, 2 threads'; '2 processes, each on cuda'."""
    name = processes.device.type
    if name == "cpu":
        threads = torch.get_num_threads()
        name = f"cpu, {count(threads, 'thread')}"
    return name if processes.count == 1 else f"{processes.count} processes, each on {name}"
