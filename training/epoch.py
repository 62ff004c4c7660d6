"""One epoch of training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter

from torch import Tensor
from tqdm import tqdm

from attacks.ascent import check_pixels
from helper.placement import to_device
from helper.processes import bar_options
from training.update import Update


def train_one_epoch(
    update: Update,
    loader: Iterable[dict[str, Tensor]],
    schedule: Callable[[float], float],
    *,
    epoch: int,
    first_step: int,
    steps: int,
    print_every: int,
    stop_after: Callable[[int], bool],
    description: str,
) -> dict[str, float] | None:
    """The epoch's means: loss, every term, accuracy per view, images/s. None where `stop_after(step)` said to stop.

    `loader` gives the batches from `first_step` on, `steps` is the whole epoch's number of them. Figures are read from
    the device every `print_every` steps; in between nothing waits for it.
    """
    task, meter = update.task, update.meter
    task.student.train()
    batches = to_device(loader, task.processes.device, channels_last=task.acceleration.channels_last)
    started, seen, terms = perf_counter(), 0, {term.name for term in task.objective.terms}
    rate = schedule(epoch + max(first_step - 1, 0) / steps)
    bar = tqdm(total=steps, initial=first_step, desc=description, unit="batch", **bar_options(task.processes))
    with task.acceleration.training(), bar:
        for step, batch in enumerate(batches, start=first_step + 1):
            if step == first_step + 1:
                check_pixels(batch["clean"])  # the first batch speaks for its epoch: asking means waiting
            rate = schedule(epoch + (step - 1) / steps)
            update(batch, epoch, rate)
            seen += len(batch["label"]) * task.processes.count
            if step % print_every == 0 or step == steps:
                shown = {name: value for name, value in meter.means().items() if name not in terms}
                bar.set_postfix({**shown, "images/s": seen / (perf_counter() - started)}, refresh=False)
            bar.update()
            if stop_after(step):
                return None
    return {**meter.means(), "learning_rate": rate, "images_per_second": seen / (perf_counter() - started)}
