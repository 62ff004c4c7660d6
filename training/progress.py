"""Where a training run stands, and what it says of that."""

from __future__ import annotations

from dataclasses import dataclass, field

from tqdm import tqdm

from helper.processes import Processes
from helper.run_folder import AVERAGED, RAW


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


def summary(record: dict, epochs: int, select_on: str) -> str:
    """One line for people, from the epoch's record. `select_on`: on which images it was judged."""
    parts = [f"epoch {record['epoch']}/{epochs}", f"loss {record['loss']:.4f}", f"lr {record['learning_rate']:.4f}"]
    parts.append("on held-out images" if select_on == "heldout" else "on test images")
    for kind, note in ((RAW, ""), (AVERAGED, ", averaged")):
        for metric, words in (("TA", "clean"), ("ATA", "under attack")):
            accuracy = record.get(metric + kind, {})
            parts += [f"{words} {value:.2f} % (branch {branch}{note})" for branch, value in accuracy.items()]
    if "mask_distance" in record:
        parts.append(f"mask moved {record['mask_distance']:.2f} %")
    return ", ".join([*parts, f"{record['images_per_second']:.0f} images/s", f"{record['seconds']:.0f} s"])


def say(processes: Processes, text: str) -> None:
    if processes.is_main:
        tqdm.write(text)
