"""Learning rate as a function of training progress alone, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

# Decays at 150, 180 and 210 of 240 epochs, the published recipe; shorter runs decay at the same shares.
RECIPE_DECAYS = (150 / 240, 180 / 240, 210 / 240)
ONE_CYCLE_RISE = 0.3


def default_decay_epochs(epochs: int) -> list[float]:
    """A decay may fall within an epoch."""
    return [share * epochs for share in RECIPE_DECAYS]


def make_schedule(
    kind: str, *, learning_rate: float, epochs: int, decay_epochs: Sequence[float], decay_rate: float
) -> Callable[[float], float]:
    """Epochs done (a fraction within an epoch counts) -> learning rate.

    'step' multiplies by `decay_rate` at every epoch in `decay_epochs`; 'onecycle' rises linearly over the first 30 % of
    the run, and falls to zero along a cosine (after Smith and Topin, arXiv 1708.07120).
    """

    def step(progress: float) -> float:
        return learning_rate * decay_rate ** sum(progress >= epoch for epoch in decay_epochs)

    def onecycle(progress: float) -> float:
        share = progress / epochs
        if share < ONE_CYCLE_RISE:
            return learning_rate * (0.04 + 0.96 * share / ONE_CYCLE_RISE)
        return learning_rate * 0.5 * (1 + math.cos(math.pi * (share - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE)))

    return {"step": step, "onecycle": onecycle}[kind]
