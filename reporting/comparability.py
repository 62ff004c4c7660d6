"""Runs that stand side by side on a page of results, and in words what forbids to compare their figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from reporting.figures import severities_of
from reporting.page import RunName, shorten_middle


@dataclass(frozen=True)
class Run:
    """`name` tells it from the other runs; `records` are those of log.jsonl, if there is one.

    `masks`: bool (C, H, W) by layer, of an evaluated network that has some.
    """

    number: int
    name: str
    folder: Path
    results: dict
    records: list[dict]
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
        ("on different data sets", lambda results: results["dataset"]),
        ("on different numbers of images", lambda results: f"{results['accuracy']['images']:,}"),
        ("on different parts of the data", lambda results: results.get("measured_on")),
        ("under different attacks", lambda results: results.get("attack") and attack_in_words(results["attack"])),
        ("on different corrupted images", corruptions_in_words),
        ("at different severities", severities_in_words),
        ("against different baselines", baseline_in_words),
    ):
        groups = grouped(runs, value)
        if len(groups) > 1:
            parts = "; ".join(f"{found} in {run_list(members)}" for found, members in groups.items())
            notes.append(f"Measured {what}: {parts}.")
    made = {run.number: run.results.get("corrupted_images") or {} for run in runs}
    if own := [run for run in runs if made[run.number].get("origin", "published") != "published"]:
        notes.append(f"NPA and mCE are of images generated here, not of the published ones, in {run_list(own)}.")
    if drawn := [run for run in runs if made[run.number].get("frost") == "procedural"]:
        notes.append(
            f"Frost is procedural in {run_list(drawn)}: that corruption, and the means with it, cannot be compared "
            "with published figures."
        )
    return notes


def grouped(runs: Sequence[Run], value: Callable[[dict], str | None]) -> dict[str, list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        if (found := value(run.results)) is not None:
            groups.setdefault(found, []).append(run)
    return groups


def run_list(runs: Sequence[Run]) -> str:
    numbers = [str(run.number) for run in runs]
    return f"run {numbers[0]}" if len(runs) == 1 else f"runs {', '.join(numbers[:-1])} and {numbers[-1]}"


def attack_in_words(attack: dict) -> str:
    """'PGD-20 at 8/255, 5 restarts'; 'PGD-20 (L2) at 0.5'."""
    name, space, more = attack["title"].partition(" ")
    steps = f"-{attack['steps']}" if attack.get("steps", 0) > 1 else ""
    starts = f", {attack['restarts']} restarts" if attack.get("restarts", 1) > 1 else ""
    # Pixel values have 255 steps; lengths over many of them have none.
    eps = Fraction(attack["eps"]).limit_denominator(255) if attack["norm"] == "Linf" else f"{attack['eps']:g}"
    return f"{name}{steps}{space}{more} at {eps}{starts}"


def corruptions_in_words(results: dict) -> str | None:
    made = results.get("corrupted_images")
    if not made:
        return None
    return f"{made['origin']}{', frost (procedural)' if made.get('frost') == 'procedural' else ''}"


def severities_in_words(results: dict) -> str | None:
    return ", ".join(map(str, severities_of(results))) if results["accuracy"].get("corruptions") else None


def baseline_in_words(results: dict) -> str | None:
    return str((results.get("args") or {}).get("baseline") or "unknown") if results["accuracy"].get("mCE") else None
