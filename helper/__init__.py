"""What the scripts share. To import it, the first thing that a script does, makes Ctrl-C quiet until its `main` begins.

It also settles how torch's threads share the cores, where torch is not loaded yet.
"""

import os
import signal
import sys
from types import FrameType


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Of a Ctrl-C while a script still imports: a KeyboardInterrupt would be lost there, or end in a traceback."""
    os.write(2, b"error: interrupted\n")
    os._exit(130)


def imported_by_a_script() -> bool:
    """Whether the file that is run imports us itself, and is to end through `run_script`, which takes Ctrl-C back."""
    frame: FrameType | None = sys._getframe(2)  # beyond this function and this file
    while frame and "importlib" in frame.f_code.co_filename:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__") == "__main__" and "run_script" in frame.f_code.co_names


if imported_by_a_script() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, end_at_once)

from helper.machine import share_cores  # noqa: E402

share_cores()
