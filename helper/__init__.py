"""What the scripts share. To import it, the first thing that a script does, makes Ctrl-C quiet until its `main` begins.

Even before the standard library, which takes a tenth of a second: what is left to Python's own traceback is its start.
It also settles how torch's threads share the cores, where torch is not loaded yet.
"""

from __future__ import annotations

# The core of `signal`, which is there at once: that module loads others first.
import _signal  # type: ignore[import-not-found]
import os
import sys


def end_at_once(number: int, frame: object) -> None:
    """Of a Ctrl-C while a script still imports: a KeyboardInterrupt would be lost there, or end in a traceback."""
    os.write(2, b"error: interrupted\n")
    os._exit(130)


def imported_by_a_script() -> bool:
    """Whether the file that is run, or the command that runs it, imports us itself, and is to end through `run_script`,
    which takes Ctrl-C back.
    """
    frame = sys._getframe(2)  # beyond this function and this file
    while frame.f_back and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    is_run = frame.f_globals.get("__name__") in ("__main__", "rlnet_command")
    return is_run and not {"run_script", "runpy"}.isdisjoint(frame.f_code.co_names)


if imported_by_a_script() and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, end_at_once)

from helper.machine import share_cores  # noqa: E402

share_cores()
