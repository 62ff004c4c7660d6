"""Who may write a folder: one process at a time, on every system. A lock ends with its process, however that ends."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from helper.errors import UserError


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
