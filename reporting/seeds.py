"""Runs of one configuration that differ in their seeds alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from formats.results import Results
from helper.run_folder import FREE_OPTIONS
from reporting.comparability import Run

# What may differ between two seeds of one configuration, beside what says nothing of the figures.
OWN = FREE_OPTIONS | {"seed", "path", "path_t", "path_s_load", "corruption_dir", "no_figures", "images"}


def by_configuration(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs, in order; those of one configuration together, where no two of them have the same seeds."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        key = configuration(run.results)
        others = groups.get(key, [])
        if seeds(run.results) in [seeds(other.results) for other in others] or seeds(run.results) == [None]:
            key = f"{key} {run.number}"  # the same run twice is no sample of two
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def seeds(results: Results) -> list[int | None]:
    """Of the trainings that led to a network, the last stage first."""
    stages = [stage.options for stage in results.training or ()]
    return [options.get("seed") for options in stages or [results.args]]


def configuration(results: Results) -> str:
    """All that must agree: what was trained, how, and how it was measured."""
    stages = [_shared(stage.options) for stage in results.training or ()]
    facts = [results.script, results.model, results.dataset, results.relus.kept, results.relus.total]
    attack = results.attack and results.attack.as_json()
    measured = [results.accuracy.images, results.measured_on, attack]
    return json.dumps([facts, measured, _shared(results.args), stages], sort_keys=True)


def _shared(options: Mapping) -> dict:
    return {name: value for name, value in options.items() if name not in OWN}
