"""What an interpolation between branches will look for, decided before: `evaluation.settle_interpolation` does it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from attacks.attack import AttackSettings
from dataset import DatasetSpec
from dataset.options import DataSettings
from evaluation.data import Corruptions
from formats.checkpoint import Checkpoint
from helper.zoo import in_zoo


@dataclass(frozen=True)
class InterpolationPlan:
    """`t`: the only one to measure at, None for the best of `grid` ones by `weight`, what AdvA counts against CA.

    `estimate_images`: of training images that statistics are estimated on, None where they are interpolated.
    `attack_images`, `corrupt_images`: how many evenly spaced ones are attacked and corrupted. `out`: the file of the
    one-branch checkpoint, None for a name beside the checkpoint's. `record`: every option under its own name.
    """

    checkpoint: Path
    data: DatasetSpec
    images: DataSettings
    weight: float | None
    t: float | None
    grid: int
    estimate_images: int | None
    attack: AttackSettings
    attack_images: int
    corruptions: Corruptions
    corrupt_images: int
    folder: Path
    out: Path | None
    resume: Path | None
    seed: int
    record: Mapping[str, object]

    @property
    def suffix(self) -> str:
        return suffix_of(estimated=self.estimate_images is not None)

    def file(self, t: float) -> Path:
        """Of the one-branch checkpoint at `t`."""
        beside = (
            self.folder if in_zoo(self.checkpoint) else self.checkpoint.parent
        )  # the zoo holds what its index names
        return self.out or beside / f"{self.checkpoint.stem}_t{t:g}{self.suffix}.pth"

    def statistics_in_words(self, images: int) -> str:
        """`images`: how many there were to estimate on."""
        if self.estimate_images is None:
            return "interpolated"
        return f"estimated on {images} training images in batches of {self.images.batch_size}"

    def warnings(self, checkpoint: Checkpoint) -> list[str]:
        if self.images.select_on != "heldout":
            said = "t was looked for on the test set: accuracies measured on it flatter"
            return [said] if self.t is None else []
        trained = checkpoint.args.get("select_on", "heldout")
        if trained != "heldout":
            return [f"the network was trained with --select_on {trained}, on the held-out images too: they flatter it"]
        return []


def suffix_of(*, estimated: bool) -> str:
    return "_estimated" if estimated else ""
