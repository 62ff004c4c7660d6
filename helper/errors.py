"""The error that a user can mend, and what is said of one that only we can."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import traceback
from contextlib import suppress

from helper.machine import versions


class UserError(Exception):
    """Something the user gave is wrong. The message says what, and what to do, in one line."""


def unexpected(error: Exception) -> str:
    """The line for a mistake of ours, which names a file with all that is needed to mend it."""
    said = (str(error).strip() or "no message").splitlines()[-1]  # a loader's worker puts its traceback first
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    lines = [f"command: {shlex.join(sys.orig_argv)}", f"in: {os.getcwd()}", f"versions: {known}", ""]
    where = keep("\n".join([*lines, "".join(traceback.format_exception(error))]))
    return (
        f"{type(error).__name__}: {said[:200]}; this should not happen: please report it with {where} (or see --debug)"
    )


def keep(text: str) -> str:
    """The path of a file that holds `text`: in the folder of this run, or where temporary files lie."""
    from helper.files import locked_folders

    for folder in locked_folders():
        path = folder / "traceback.txt"
        with suppress(OSError):
            path.write_text(text, errors="backslashreplace")
            return str(path)
    descriptor, name = tempfile.mkstemp(".txt", "rlnet_traceback_")
    with open(descriptor, "w", errors="backslashreplace") as file:
        file.write(text)
    return name
