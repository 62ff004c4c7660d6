"""Files as such: digests, whole or not at all, JSON, and who may write a folder.

One process at a time writes a folder, on every system; a lock ends with its process, however that ends.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from helper.errors import UserError


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def replace_file(path: Path, write) -> None:
    """Let `write(file)` fill a temporary file beside `path`, then rename it; a failure leaves and loses nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"{path}: {error.strerror or error}; what was there before is intact") from error
        raise


def write_json(path: Path, content: dict | list) -> None:
    replace_file(path, lambda file: file.write((json.dumps(content, indent=1) + "\n").encode()))


def lock_folder(path: Path) -> FileLock:
    """Raise UserError where another process writes into `path`; the lock lasts as long as what is returned here."""
    path.parent.mkdir(parents=True, exist_ok=True)
    busy = f"{path}: another process is writing there; give this one another folder"
    return lock_file(path.parent / f".{path.name}.lock", busy)


def lock_file(path: Path, busy: str) -> FileLock:
    """`path`, made where it is missing and locked for this process; raises UserError(busy) where another one has it.

    Processes that are forked from this one do not hold it.
    """
    # Of the process and not of a thread: whichever thread lets go of it last ends it.
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UserError(busy) from error
    return lock
