"""SIGTERM and Ctrl-C: the step in hand is finished and saved, then the process exits with status 0."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from helper.processes import any_process


class Stopped(SystemExit):
    """The run was asked to stop, and nothing of it is unsaved."""


class StopSignal:
    """Ask `requested` after every step. A signal that comes while everything is saved ends the process at once."""

    def __init__(self):
        self._requested = False
        self._all_saved = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame) -> None:
        # A launcher and a terminal may both pass the same signal on, so a second one means no more than the first.
        self._requested = True
        if self._all_saved:
            self.nothing_to_save()

    def requested(self) -> bool:
        """Whether any process was asked to stop. All processes must ask together."""
        return any_process(self._requested)

    def nothing_to_save(self) -> None:
        """From here on a signal ends the process at once, and so does one that has come already."""
        self._all_saved = True
        if self._requested:
            raise Stopped("stopped; go on with --resume auto")

    @contextmanager
    def all_saved(self) -> Iterator[None]:
        """Within the context there is nothing to save before an exit."""
        self.nothing_to_save()
        try:
            yield
        finally:
            self._all_saved = False
