"""A stand-in for CUDA graphs that runs on a CPU: kernels are noted down as they run, and run again on the same memory.

As with a graph, nothing of Python is run again; and what a capture refuses is refused here: a value read from the
device, and a tensor made of Python's numbers, which would have to be copied there.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::_unique2"}
COPIES = {"aten::lift_fresh"}


class HostSync(Exception):
    """The work waits for the device, or brings it something."""


class NoHostSync(TorchDispatchMode):
    """Within the context whatever would wait for the device raises HostSync."""

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        name = kernel._schema.name
        if name in READS | COPIES:
            raise HostSync(name)
        return kernel(*args, **(kwargs or {}))


class Tape(NoHostSync):
    """Notes every kernel that runs within the context, with its very tensors; `replay` runs them again."""

    def __init__(self):
        super().__init__()
        self.calls: list[tuple[Callable, tuple, dict, list]] = []

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        results = super().__torch_dispatch__(kernel, types, args, kwargs)
        self.calls.append((kernel, args, kwargs or {}, tree_leaves(results)))
        return results

    @torch.no_grad()
    def replay(self) -> None:
        for kernel, args, kwargs, results in self.calls:
            for value, result in zip(tree_leaves(kernel(*args, **kwargs)), results, strict=True):
                # A view, or what was changed in place, is up to date already.
                if isinstance(value, Tensor) and value.data_ptr() != result.data_ptr():
                    result.copy_(value)


class TapeRecorder:
    """training.graphs.Recorder on a CPU; counts what it is asked for."""

    def __init__(self):
        self.warm_ups = self.records = self.replays = 0

    def warm_up(self, work: Callable[[], None]) -> None:
        self.warm_ups += 1
        with NoHostSync():
            work()

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        self.records += 1
        with Tape() as tape:
            work()

        def replay() -> None:
            self.replays += 1
            tape.replay()

        return replay
