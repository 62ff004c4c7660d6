"""Processes that share a test set and compute blocks of it, and that never outlive the one that started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from helper.errors import UserError


class Workers:
    """`count` processes that do `work(*task)`, and end at once when this one does, however it ends."""

    def __init__(self, count: int, work: Callable):
        # Forked, so that they have the test set without a copy, and need not import PyTorch again.
        context = multiprocessing.get_context("fork")
        self.processes: dict[Connection, BaseProcess] = {}
        lifeline, self.lifeline = context.Pipe(duplex=False)
        for _ in range(count):
            ours, theirs = context.Pipe()
            # Were our ends open in the workers too, they would not notice that we are gone.
            inherited = [*self.processes, ours, self.lifeline]
            process = context.Process(target=serve, args=(work, theirs, lifeline, inherited), daemon=True)
            self.processes[ours] = process
            process.start()
            theirs.close()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error) -> None:
        for process in self.processes.values():
            process.kill()
            process.join()

    def results(self, tasks: Iterable[tuple], pause: Callable) -> Iterator[tuple[tuple, list]]:
        """(task, what came of it), in any order. Within the context `pause()` nothing happens but waiting."""
        tasks = iter(tasks)
        given: dict[Connection, deque] = {pipe: deque() for pipe in self.processes}

        def give(pipe: Connection) -> None:
            task = next(tasks, None)
            if task is not None:
                pipe.send(task)
                given[pipe].append(task)

        try:
            for pipe in [*self.processes, *self.processes]:  # two each, so that nobody waits for us
                give(pipe)
            while any(given.values()):
                with pause():
                    ready = wait([pipe for pipe, queue in given.items() if queue])
                for pipe in cast(list[Connection], ready):
                    result = pipe.recv()
                    give(pipe)
                    if isinstance(result, Exception):
                        raise result
                    yield given[pipe].popleft(), result
        except (EOFError, ConnectionError) as error:
            raise UserError(
                "a worker was killed, maybe for want of memory; the same command goes on, perhaps with fewer --workers"
            ) from error


def serve(work: Callable, pipe: Connection, lifeline: Connection, inherited: Iterable) -> None:
    # A terminal sends Ctrl-C to all of us, a scheduler SIGTERM: it is for the parent to say what happens.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    for other in inherited:
        other.close()
    threading.Thread(target=end_with, args=(lifeline,), daemon=True).start()
    with suppress(EOFError, ConnectionError):  # the parent is gone
        while True:
            task = pipe.recv()
            try:
                result = work(*task)
            except Exception as error:
                error.add_note(traceback.format_exc())
                result = error
            pipe.send(result)


def end_with(lifeline: Connection) -> None:
    lifeline.poll(None)  # nothing is ever sent: this is the end of the process at the other end
    os._exit(1)
