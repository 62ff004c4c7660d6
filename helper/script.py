"""How a script begins and ends: status 0, 2 where the user, or the disk, is at fault, 130 after Ctrl-C, else 1.

All but 0 with one line on stderr, from the first import on.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from helper import end_at_once
from helper.errors import UserError, fault_in_words, unexpected

DEBUG = "RLNET_DEBUG"  # in the environment, what --debug sets, also for the scripts that this one starts


def run_script(main: Callable[[argparse.Namespace], None], parse_args: Callable[[], argparse.Namespace]) -> None:
    """Run `main(parse_args())` and leave."""
    if signal.getsignal(signal.SIGINT) is end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main(parse_args())
        if distributed():
            from helper.processes import wait_for_all

            wait_for_all()
    except UserError as error:
        leave_with(str(error))
    except OSError as error:  # a full disk, a folder without write permission
        leave_with(fault_in_words(error))
    except KeyboardInterrupt:  # while there is no StopSignal, hence nothing to save
        leave_with("interrupted", 130)
    except Terminated:
        leave_with("stopped by a signal (SIGTERM)", 128 + signal.SIGTERM)
    except Stopped as stop:
        if os.environ.get("RANK", "0") == "0":
            print(stop)
    except SystemExit as stop:
        leave(stop.code)  # type: ignore[arg-type]
    except Exception as error:
        if lost_a_peer(error):
            leave_with("another process of this run has ended, and took this one with it")
        if os.environ.get(DEBUG):
            traceback.print_exception(error)
            leave(1)
        leave_with(unexpected(error), 1)
    leave(0)


def distributed() -> ModuleType | None:
    """torch.distributed; None in a script that has not loaded torch, and so is the only process of its run."""
    return sys.modules.get("torch.distributed")


def lost_a_peer(error: Exception) -> bool:
    """Whether the error only says that a process we were talking to is gone; it has told its own story."""
    if not isinstance(error, RuntimeError):
        return False
    if "closed by peer" in str(error) or "reset by peer" in str(error):
        return True
    dist = distributed()
    return dist is not None and isinstance(error, dist.DistNetworkError)


def leave_with(message: str, status: int = 2) -> NoReturn:
    line = f"{error_prefix()}: {' '.join(message.split())}"
    print(line, file=sys.stderr)
    tell_torchrun(line)
    leave(status)


def tell_torchrun(line: str) -> None:
    """Nothing keeps torchrun from a traceback of its own; below that, its last lines quote what this file says."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        said = {"message": line, "extraInfo": {"py_callstack": line, "timestamp": str(int(time.time()))}}
        with suppress(OSError):
            Path(file).write_text(json.dumps({"message": said}))


def error_prefix() -> str:
    rank = os.environ.get("RANK", "0")
    return f"error (process {rank})" if rank.isdigit() and int(rank) else "error"


def leave(status: int) -> NoReturn:
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


class Terminated(BaseException):
    """SIGTERM came, in a script that then has something to tidy up."""


def end_on_sigterm() -> None:
    """Let SIGTERM unwind this script, as Ctrl-C does, instead of cutting it off."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, end)


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
