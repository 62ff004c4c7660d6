"""How a script begins and ends: exit status 0, or 2 and one line on stderr where the user, or the disk, is at fault."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from helper.errors import UserError


def run_script(main: Callable[[argparse.Namespace], None], parse_args: Callable[[], argparse.Namespace]) -> None:
    """Run `main(parse_args())` and leave."""
    try:
        main(parse_args())
        if distributed():
            from helper.processes import wait_for_all

            wait_for_all()
    except UserError as error:
        leave_with(str(error))
    except OSError as error:  # a full disk, a folder without write permission
        leave_with(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except RuntimeError as error:
        if not lost_a_peer(error):
            raise
        leave_with("another process of this run has ended, and took this one with it")
    except KeyboardInterrupt:  # while there is no StopSignal, hence nothing to save
        leave_with("interrupted", 130)
    except Stopped as stop:
        if os.environ.get("RANK", "0") == "0":
            print(stop)
    except SystemExit as stop:
        leave(stop.code)  # type: ignore[arg-type]
    leave(0)


def distributed() -> ModuleType | None:
    """torch.distributed; None in a script that has not loaded torch, and so is the only process of its run."""
    return sys.modules.get("torch.distributed")


def lost_a_peer(error: RuntimeError) -> bool:
    """Whether the error only says that a process we were talking to is gone; it has told its own story."""
    if "closed by peer" in str(error) or "reset by peer" in str(error):
        return True
    dist = distributed()
    return dist is not None and isinstance(error, dist.DistNetworkError)


def leave_with(message: str, status: int = 2) -> None:
    rank = os.environ.get("RANK", "0")
    prefix = "error" if rank == "0" else f"error (process {rank})"
    print(f"{prefix}: {' '.join(message.split())}", file=sys.stderr)
    leave(status)


def leave(status: int) -> None:
    """End the process without tearing it down in the distributed case.

    DistributedDataParallel's reducer may hold the last reference to a gloo group and then joins its thread with the GIL
    in hand, for which that thread may be waiting: seen to hang one run in four. Everything is written by now.
    """
    dist = distributed()
    if dist and dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


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
        from helper.processes import any_process  # a script that reads JSON should not wait for torch to load

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
