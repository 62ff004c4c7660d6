"""Run steps one after the other, until they are done, a deadline comes, or somebody asks to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from helper.errors import UserError
from reproduction.ledger import Ledger
from reproduction.steps import Step

ROOT = Path(__file__).parent.parent
# So long before the deadline a step is asked to stop: it ends its training step, and writes a checkpoint.
GRACE_S = 30
# How often we look whether the step has ended, the deadline has come, or a signal.
POLL_S = 0.5


def child_environment(threads: int | None) -> dict[str, str]:
    """This process's own, but for so many threads."""
    return {**os.environ, **({} if threads is None else {"OMP_NUM_THREADS": str(threads)})}


class Runner:
    """`seconds`: of the time budget, or None. `stopping` tells, after `run`, that there is no time for another step."""

    def __init__(self, ledger: Ledger, seconds: float | None, threads: int | None):
        self.ledger, self.environment = ledger, child_environment(threads)
        self.deadline = None if seconds is None else perf_counter() + seconds - GRACE_S
        self.stopping = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, number: int, frame) -> None:
        self.stopping = True

    def run(self, step: Step) -> bool:
        """Whether the step is done. Raises UserError where it failed, which its own line on stderr explains."""
        started = perf_counter()
        words = [sys.executable, *step.command]
        child = subprocess.Popen(words, cwd=ROOT, env=self.environment)
        asked = False
        while child.poll() is None:
            self.stopping = self.stopping or self._is_late()
            if self.stopping and not asked:
                child.send_signal(signal.SIGTERM)
                asked = True
            try:
                child.wait(POLL_S)
            except subprocess.TimeoutExpired:
                continue
        done = child.returncode == 0 and step.marker.exists()
        self.ledger.add(step, perf_counter() - started, done=done)
        if child.returncode and not self.stopping:  # a terminal's Ctrl-C may have ended it before we asked
            raise UserError(f"step {step.name} ended with status {child.returncode}; the same command goes on there")
        if not done:
            self.stopping = True
        return done

    def _is_late(self) -> bool:
        return self.deadline is not None and perf_counter() > self.deadline
