"""CUDA graphs: work on inputs of one shape is recorded once, and launched again as a whole.

While it is recorded, work must neither be told anything by Python nor ask the GPU anything: its inputs lie in buffers
that are refilled, its results in tensors that outlive it (weights, sums). The recorder is a seam. Tests put one in its
place that records on a CPU, where a value that Python should have renewed, or a tensor that was replaced, shows too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

# So many times inputs of one shape must come in a row, and are worked on kernel by kernel, before they are recorded:
# kernels are chosen meanwhile, workspaces and the optimizer's buffers made. It is work that had to be done anyway, so
# there is no state to put back.
WARM_UPS = 3


class CannotRecord(Exception):
    """The work did what a graph cannot hold. None of it was done."""


class Recorder(Protocol):
    def warm_up(self, work: Callable[[], None]) -> None:
        """Do `work` as it will be done while it is recorded."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Do `work`; what is returned does it again, on the same memory. Raises CannotRecord."""


class CudaRecorder:
    """Records on a stream of its own. The warm-up runs there too, for autograd keeps to the streams that it has met."""

    def __init__(self, device: torch.device):
        self.stream = torch.cuda.Stream(device)

    def warm_up(self, work: Callable[[], None]) -> None:
        caller = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(caller)
        with torch.cuda.stream(self.stream):
            work()
        caller.wait_stream(self.stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        graph, caller = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.stream.device)
        # Errors are those of this thread: a loader's thread may pin memory meanwhile.
        try:
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            torch.cuda.set_stream(caller)  # a recording that failed may have left its own in place
            raise CannotRecord(str(error).partition("\n")[0]) from error
        graph.replay()
        return graph.replay


class Recorded:
    """`work(inputs)`, recorded as soon as inputs of one shape have come often enough in a row.

    Inputs of another shape, like a last batch that is smaller, are worked on kernel by kernel and leave the record be.
    `work` must not keep its inputs, nor give anything back but by changing tensors that exist when it is recorded.
    """

    def __init__(self, work: Callable[[dict[str, Tensor]], None], recorder: Recorder):
        self.work = work
        self.recorder = recorder
        self.buffers: dict[str, Tensor] = {}
        self.in_a_row = 0
        self.last_shape: dict[str, tuple] = {}
        self.forget()

    def forget(self) -> None:
        """Record anew: a tensor that the work takes for granted, or a decision in it, has changed."""
        self.replay: Callable[[], None] | None = None
        self.recorded_shape: dict[str, tuple] = {}

    def __call__(self, inputs: dict[str, Tensor]) -> None:
        shape: dict[str, tuple] = {name: (value.shape, value.stride(), value.dtype) for name, value in inputs.items()}
        self.in_a_row = self.in_a_row + 1 if shape == self.last_shape else 1
        self.last_shape = shape
        if self.replay and shape == self.recorded_shape:
            for name, value in inputs.items():
                self.buffers[name].copy_(value, non_blocking=True)
            self.replay()
        elif self.in_a_row <= WARM_UPS:
            self.recorder.warm_up(lambda: self.work(inputs))
        else:
            self.forget()
            self.buffers = {name: value.clone() for name, value in inputs.items()}
            self.replay = self.recorder.record(lambda: self.work(self.buffers))
            self.recorded_shape = shape
