"""Where a training run stands, and what it says of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tqdm import tqdm

from helper.processes import Processes
from helper.run_folder import AVERAGED, RAW
from helper.text import duration, listed


@dataclass
class Progress:
    """Epochs done, steps done of the next one, the best so far, and the state of the mask search.

    `best`: suffix of the file name -> {'value': %, 'epoch': n}. `withstood`: the epoch of the best accuracy under
    attack so far, with what was then measured. `overfitted`: the epoch from which on the training attack is withstood
    and PGD is not, 0 for none.
    """

    epoch: int = 0
    step: int = 0
    best: dict[str, dict] = field(default_factory=dict)
    masks_frozen: bool = True
    withstood: dict[str, float] = field(default_factory=dict)
    overfitted: int = 0
    seconds: float = 0.0


# What the bar calls the means of an epoch, the most telling first.
SHOWN = {"loss": "loss", "accuracy_adv": "under attack", "accuracy_clean": "clean", "accuracy_aug": "AugMix"}


def bar_text(means: Mapping[str, float]) -> str:
    """'loss 1.2345, under attack 34.5 %, clean 80.1 %'; shares in `means` are in per cent."""
    parts = [
        f"{words} {means[name]:.4f}" if name == "loss" else f"{words} {means[name]:.1f} %"
        for name, words in SHOWN.items()
        if name in means
    ]
    return ", ".join(parts)


@dataclass(frozen=True)
class Clock:
    """How long the rest of the run takes: `epochs` are to come after this one, the last of which took `epoch_s`."""

    epochs: int = 0
    epoch_s: float | None = None

    def left(self, share: float, seconds: float) -> float:
        """In seconds, `seconds` after a start from which that share of this epoch was done."""
        whole = self.epoch_s or seconds / share
        return whole * self.epochs + seconds / share * (1 - share)


ONE_EPOCH = Clock()


def summary(record: dict, epochs: int, select_on: str) -> str:
    """For people, from the epoch's record; lines as wide as the terminal, the most telling first.

    `select_on`: on which images it was judged.
    """
    parts = [f"epoch {record['epoch']}/{epochs}", f"loss {record['loss']:.4f}"]
    for kind, note in ((RAW, ""), (AVERAGED, ", averaged")):
        for metric, words in (("ATA", "under attack"), ("TA", "clean")):
            found = [f"{value:.2f} % (branch {name}{note})" for name, value in record.get(metric + kind, {}).items()]
            parts += [f"{words} {found[0]}", *found[1:]] if found else []
    parts.append("on held-out images" if select_on == "heldout" else "on test images")
    if "mask_distance" in record:
        parts.append(f"mask moved {record['mask_distance']:.2f} %")
    if "weights_moved" in record:
        parts.append(f"weights moved {record['weights_moved']:.2f} %")
    parts += [f"lr {record['learning_rate']:.4f}", f"{record['images_per_second']:.0f} images/s"]
    parts.append(f"{record['seconds']:.0f} s")
    left = record["seconds"] * (epochs - record["epoch"])
    return listed([*parts, f"about {duration(left)} left"] if left else parts)


def say(processes: Processes, text: str) -> None:
    if processes.is_main:
        tqdm.write(text)
