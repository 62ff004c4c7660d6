"""Runs of one configuration that differ in their seeds alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

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


def seeds(results: Mapping) -> list[int | None]:
    """Of the trainings that led to a network, the last stage first."""
    stages = results.get("training") or [{"options": results.get("args") or {}}]
    return [stage["options"].get("seed") for stage in stages]


def configuration(results: Mapping) -> str:
    """All that must agree: what was trained, how, and how it was measured."""
    stages = [_shared(stage["options"]) for stage in results.get("training") or []]
    facts = [results[name] for name in ("script", "model", "dataset")]
    measured = [results["accuracy"]["images"], results.get("measured_on"), results.get("attack")]
    relus = results["relus"]["kept"], results["relus"]["total"]
    return json.dumps([facts, measured, relus, _shared(results.get("args") or {}), stages], sort_keys=True, default=str)


def _shared(options: Mapping) -> dict:
    return {name: value for name, value in options.items() if name not in OWN}
