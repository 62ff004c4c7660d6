"""One epoch of training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter

from torch import Tensor
from tqdm import tqdm

from attacks.ascent import check_pixels
from formats.log import in_per_cent
from helper.placement import to_device
from helper.processes import bar_options
from helper.text import duration
from training.progress import ONE_EPOCH, Clock, bar_text
from training.update import Update

# At 80 columns the loss and the accuracy under attack are still seen.
BAR = "{desc} {bar:5} {percentage:3.0f} %{postfix}, {rate_fmt}"


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
    clock: Clock = ONE_EPOCH,
) -> dict[str, float] | None:
    """The epoch's means: loss, every term, accuracy per view, images/s. None where `stop_after(step)` said to stop.

    `loader` gives the batches from `first_step` on, `steps` is the whole epoch's number of them. Figures are read from
    the device every `print_every` steps; in between nothing waits for it. `clock` tells how long the whole run takes.
    """
    task, meter = update.task, update.meter
    task.student.train()
    batches = to_device(loader, task.processes.device, channels_last=task.acceleration.channels_last)
    started, seen = perf_counter(), 0
    rate = schedule(epoch + max(first_step - 1, 0) / steps)
    options = {"unit": "batch", "bar_format": BAR, **bar_options(task.processes)}
    bar = tqdm(total=steps, initial=first_step, desc=description, **options)
    with task.acceleration.training(), bar:
        for step, batch in enumerate(batches, start=first_step + 1):
            if step == first_step + 1:
                check_pixels(batch["clean"])  # the first batch speaks for its epoch: asking means waiting
            rate = schedule(epoch + (step - 1) / steps)
            update(batch, epoch, rate)
            seen += len(batch["label"]) * task.processes.count
            if step % print_every == 0 or step == steps:
                left = clock.left((step - first_step) / (steps - first_step), perf_counter() - started)
                bar.set_description_str(f"{description}, {duration(left)} left", refresh=False)
                bar.set_postfix_str(bar_text(in_per_cent(meter.means())), refresh=False)
            bar.update()
            if stop_after(step):
                return None
    return {**meter.means(), "learning_rate": rate, "images_per_second": seen / (perf_counter() - started)}
