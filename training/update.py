"""One update of the student's weights: the training step, its gradients, the optimizer; plainly or as a CUDA graph.

Neither waits for the device: what a step has to say is added up where it is computed, in the meter.
"""

from __future__ import annotations

import torch
from torch import Tensor
from tqdm import tqdm

from helper.errors import UserError
from training.average import WeightAverage
from training.graphs import CannotRecord, CudaRecorder, Recorded, Recorder
from training.meter import EpochMeter
from training.step import Task, training_loss


class Update:
    """`update(batch, epoch, learning_rate)`, counted in `meter`.

    Learning rate and epoch are tensors on the device, which a recorded step reads afresh. The optimizer must take a
    tensor for its rate, as torch.optim.SGD with fused=True does. `average` follows the weights. `recorder` is for
    tests; by default it is the device's, where `task.acceleration` wants graphs.
    """

    def __init__(
        self,
        task: Task,
        optimizer: torch.optim.Optimizer,
        meter: EpochMeter,
        average: WeightAverage | None = None,
        recorder: Recorder | None = None,
    ):
        self.task, self.optimizer, self.meter, self.average = task, optimizer, meter, average
        device = task.processes.device
        self.epoch = torch.zeros((), dtype=torch.int64, device=device)
        # Of a run that goes on, what its last step had: where no step follows, it is saved again.
        self.learning_rate = torch.tensor(float(optimizer.param_groups[0]["lr"]), device=device)
        for group in optimizer.param_groups:
            group["lr"] = self.learning_rate
        if recorder is None and task.acceleration.graphs:
            recorder = CudaRecorder(device)
        self.recorded = Recorded(self._step, recorder) if recorder else None

    def __call__(self, batch: dict[str, Tensor], epoch: int, learning_rate: float) -> None:
        self.epoch.fill_(epoch)
        self.learning_rate.fill_(learning_rate)
        try:
            (self.recorded or self._step)(batch)
        except CannotRecord as error:
            if self.task.acceleration.must_record:
                raise UserError(
                    f"--compile graphs: the step cannot be recorded; use --compile none ({error})"
                ) from error
            tqdm.write(f"note: going on without CUDA graphs, for the step cannot be recorded ({error})")
            self.recorded = None
            self.optimizer.zero_grad(set_to_none=True)  # what the recording left there holds nothing
            self._step(batch)
        if self.average:
            self.average.update()
        if self.task.search and self.task.search.after_step():
            self.masks_changed()

    def masks_changed(self) -> None:
        """The student's masks are new tensors, or the search for them is over."""
        if self.recorded:
            self.recorded.forget()
        if self.average:
            self.average.take_masks()

    def _step(self, batch: dict[str, Tensor]) -> None:
        training_loss(self.task, batch, self.epoch, self.meter).backward()
        if self.task.search:
            self.task.search.after_backward()
        self.optimizer.step()
        # Here rather than before the next step, whose forward passes then have the gradients' memory too.
        self.optimizer.zero_grad(set_to_none=True)
