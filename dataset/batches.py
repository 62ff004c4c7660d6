"""Which images make which batch, on which process, and the loader that delivers them.

Batches are global: N processes share each one. Process `rank` of `world` takes its rows rank, rank + world,
rank + 2 * world, ...
"""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from helper.errors import UserError


class ShardedBatches(Sampler[list[tuple[int, int]]]):
    """Training batches of (epoch, position) pairs, in an order drawn from (seed, epoch) alone.

    `batch_size` is that of the global batch; the last, incomplete one is dropped. `limit` is the most batches an epoch
    has. Raises UserError where processes could not share a batch evenly, or there is not even one.
    """

    def __init__(
        self, num_samples: int, batch_size: int, seed: int, rank: int = 0, world: int = 1, limit: int | None = None
    ):
        if batch_size % world:
            raise UserError(f"a batch of {batch_size} images does not divide by {world} processes")
        if num_samples < batch_size:
            raise UserError(f"{num_samples} training images are fewer than one batch of {batch_size}")
        self.num_samples = num_samples
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.total = num_samples // batch_size if limit is None else min(limit, num_samples // batch_size)
        self.set_epoch(0)

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """What the next iteration yields: this epoch's batches from `first_batch` on, to take up one cut short."""
        self.epoch = epoch
        self.first_batch = first_batch

    def __len__(self) -> int:
        return max(0, self.total - self.first_batch)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        order = np.random.default_rng((self.seed, epoch)).permutation(self.num_samples)
        for batch in range(self.first_batch, self.total):
            rows = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(epoch, position) for position in rows[self.rank :: self.world].tolist()]


class ShardedEval(Sampler[list[int]]):
    """Evaluation batches of positions, in order. No image is repeated to fill up a batch, none is left out.

    `limit` is the most global batches. A process that has no row of the last batch yields nothing for it. With
    `whole_batches` a batch is not shared: process `rank` takes batches rank, rank + world, ... whole, for what depends
    on the company that an image is in.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        limit: int | None = None,
        whole_batches: bool = False,
    ):
        self.batch_size = batch_size
        self.rank = rank
        self.world = world
        self.num_samples = num_samples if limit is None else min(num_samples, limit * batch_size)
        self.whole_batches = whole_batches

    def __len__(self) -> int:
        whole, rest = divmod(self.num_samples, self.batch_size)
        if self.whole_batches:
            return len(range(self.rank, whole + bool(rest), self.world))
        return whole * (self.rank < self.batch_size) + (self.rank < rest)

    def __iter__(self) -> Iterator[list[int]]:
        for number, start in enumerate(range(0, self.num_samples, self.batch_size)):
            rows = list(range(start, min(start + self.batch_size, self.num_samples)))
            if not self.whole_batches:
                rows = rows[self.rank :: self.world]
            elif number % self.world != self.rank:
                continue
            if rows:
                yield rows


Batches = TypeVar("Batches", ShardedBatches, ShardedEval)


class Loader(DataLoader, Generic[Batches]):
    """A DataLoader that leaves torch's global random state alone, and whose workers outlive a signal to stop.

    Resuming would otherwise depend on how often a loader was iterated before. A Ctrl-C, or a job's SIGTERM, reaches the
    whole process group: the main process finishes its step and saves, and needs its workers for that. They end when it
    does.
    """

    batch_sampler: Batches

    def __init__(self, views: Dataset, batch_sampler: Batches, workers: int, pin_memory: bool):
        super().__init__(
            views,
            batch_sampler=batch_sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=ignore_stop_signals,
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[dict[str, Tensor]]:  # type: ignore[override]
        try:
            if self.num_workers and self._iterator is None:
                try_open_files(4 * self.num_workers + 8)
            yield from super().__iter__()
        except UserError as error:  # a worker's comes with its traceback before the message
            raise UserError(str(error).strip().rpartition(f"{UserError.__name__}: ")[2]) from None
        except (OSError, RuntimeError) as error:
            reason = why_workers_failed(error)
            if reason is None:
                raise
            raise UserError(f"--num_workers {self.num_workers}: {reason}") from error


def try_open_files(count: int) -> None:
    """Raise OSError where so many more may not be open: a loader that starts a part of its workers ends in disorder."""
    pipes: list[int] = []
    try:
        while len(pipes) < count:
            pipes += os.pipe()
    finally:
        for pipe in pipes:
            os.close(pipe)


def why_workers_failed(error: OSError | RuntimeError) -> str | None:
    """What of the machine's limits, rather than of us, is behind an error of a loader with workers."""
    said = str(error)
    if "Too many open files" in said or "items of ancdata" in said:
        return "too few files may be open at once; raise `ulimit -n`, or take fewer workers"
    if isinstance(error, OSError) and error.errno in (errno.EAGAIN, errno.ENOMEM):
        return f"{error.strerror}: the machine does not start so many processes; take fewer"
    if "DataLoader worker" in said and ("exited unexpectedly" in said or "killed by signal" in said):
        return "a worker was killed, maybe for want of memory; take fewer"
    return None


def ignore_stop_signals(worker: int) -> None:
    """Called in each worker as it starts: only its parent may end it.

    Were SIGTERM ignored altogether, a main process that ends while a loader is alive would wait for its workers for
    ever, because SIGTERM is how multiprocessing ends them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where a SIGTERM ends the worker
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=await_parents_signal, daemon=True).start()


def await_parents_signal() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
