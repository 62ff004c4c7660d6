"""The error that a user can mend, what of a file is one, and what is said of one that only we can."""

from __future__ import annotations

from helper.machine import versions

import os
import shlex
import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

if TYPE_CHECKING:  # scripts that read no such file need not wait for it
    from formats.record import Document, Table

Read = TypeVar("Read", bound="Document | Table")


class UserError(Exception):
    """Something the user gave is wrong. The message says what, and what to do, in one line."""


def fault_in_words(error: Exception) -> str:
    """What went wrong: the user's fault, or the system's, which says which file."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror or error}"
    return str(error)


def damaged(where: object, what: str, said: object, remedy: str = "") -> UserError:
    """The error for a file, or what else is at `where`, that is not `what` it should be: `said` says why."""
    return UserError(f"{where}: not {what}, or a damaged one ({said}){remedy and '; '}{remedy}")


def checked(model: type[Read], content: object, where: str | Path) -> Read:
    """Plain values that `where` holds, as `model` has them. Raises UserError: which field, what it is and should be."""
    from pydantic import ValidationError

    from formats.record import what_is_wrong

    try:
        return cast("Read", model.model_validate(content))
    except ValidationError as error:
        wrong = what_is_wrong(error)
        raise UserError(f"{where}: not {model.kind}, or a damaged one: {wrong}; {model.remedy}") from error


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
