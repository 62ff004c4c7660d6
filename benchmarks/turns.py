"""Contestants that take turns, so that a machine that slows down slows all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from time import perf_counter

import torch


def take_turns(
    contestants: Mapping[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    rehearse: bool = False,
    clock: Callable[[], float] = perf_counter,
) -> dict[str, list[float]]:
    """Seconds of each of `repeats` calls of every contestant, by its name. An untimed round comes first.

    `rehearse`: an untimed call goes before every timed one, for calls so short that caches and the allocator, as the
    contestant before has left them, decide between equals.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, call in contestants.items():
            if rehearse:
                call()
                wait_for(device)
            started = clock()
            call()
            wait_for(device)
            if repeat:
                seconds[name].append(clock() - started)
    return seconds


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: median(times) for name, times in seconds.items()}


def speed_ratios(seconds: Mapping[str, float], reference: str) -> dict[str, float]:
    """How many times as fast as `reference` each one is."""
    return {name: seconds[reference] / value for name, value in seconds.items()}
