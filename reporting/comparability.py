"""Runs that stand side by side on a page of results, and in words what forbids to compare their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from formats.log import Epoch
from formats.measured import AttackRecord, Origin
from formats.results import Results
from reporting.page import RunName, shorten_middle


@dataclass(frozen=True)
class Run:
    """`name` tells it from the other runs; `records` are those of log.jsonl, if there is one.

    `masks`: bool (C, H, W) by layer, of an evaluated network that has some.
    """

    number: int
    name: str
    folder: Path
    results: Results
    records: list[Epoch]
    masks: Mapping[str, np.ndarray] | None = None

    @property
    def short(self) -> str:
        return shorten_middle(self.name, 28)

    @property
    def label(self) -> RunName:
        return RunName(self.number, self.short, self.name)


def incomparable(runs: Sequence[Run]) -> list[str]:
    """In words, what forbids to compare the runs with each other or their figures with published ones."""
    notes = []
    for what, value in (
        ("on different data sets", lambda results: results.dataset),
        ("on different numbers of images", lambda results: f"{results.accuracy.images:,}"),
        ("on different parts of the data", lambda results: results.measured_on),
        ("under different attacks", lambda results: results.attack and attack_in_words(results.attack)),
        ("on different corrupted images", corruptions_in_words),
        ("at different severities", severities_in_words),
        ("against different baselines", baseline_in_words),
    ):
        groups = grouped(runs, value)
        if len(groups) > 1:
            parts = "; ".join(f"{found} in {run_list(members)}" for found, members in groups.items())
            notes.append(f"Measured {what}: {parts}.")
    made = [(run, run.results.corrupted_images) for run in runs if run.results.corrupted_images]
    if own := [run for run, images in made if images.origin != "published"]:
        notes.append(f"NPA and mCE are of images generated here, not of the published ones, in {run_list(own)}.")
    if drawn := [run for run, images in made if images.procedural_frost]:
        notes.append(
            f"Frost is procedural in {run_list(drawn)}: that corruption, and the means with it, cannot be compared "
            "with published figures."
        )
    return notes


def grouped(runs: Sequence[Run], value: Callable[[Results], str | None]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if (found := value(run.results)) is not None:
            groups.setdefault(found, []).append(run)
    return groups


def run_list(runs: Sequence[Run]) -> str:
    numbers = [str(run.number) for run in runs]
    return f"run {numbers[0]}" if len(runs) == 1 else f"runs {', '.join(numbers[:-1])} and {numbers[-1]}"


def attack_in_words(attack: AttackRecord) -> str:
    """'PGD-20 at 8/255, 5 restarts'; 'PGD-20 (L2) at 0.5'."""
    name, space, more = attack.called.partition(" ")
    steps = f"-{attack.steps}" if attack.steps > 1 else ""
    starts = f", {attack.restarts} restarts" if attack.restarts > 1 else ""
    # Pixel values have 255 steps; lengths over many of them have none.
    eps = Fraction(attack.eps).limit_denominator(255) if attack.norm == "Linf" else f"{attack.eps:g}"
    return f"{name}{steps}{space}{more} at {eps}{starts}"


def corruptions_in_words(results: Results) -> str | None:
    return made_in_words(results.corrupted_images) if results.corrupted_images else None


def made_in_words(images: Origin) -> str:
    return f"{images.origin}{', frost (procedural)' if images.procedural_frost else ''}"


def severities_in_words(results: Results) -> str | None:
    return ", ".join(map(str, results.accuracy.at_severities)) if results.accuracy.corruptions else None


def baseline_in_words(results: Results) -> str | None:
    return str(results.args.get("baseline") or "unknown") if results.accuracy.mCE else None
