"""Whether files are those that were written: digests, and a note of what was compared already."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from formats.manifest import Compared
from helper.errors import UserError
from helper.files import Kind, file_digest, read_bytes, read_record, write_json

COMPARED = ".compared.json"


def digest(path: Path) -> str:
    """sha256 of a file; of a folder, over the sorted relative names in it, and what each of the files holds."""
    if path.is_file():
        return file_digest(path)
    total = hashlib.sha256()
    for file in files_in(path):
        content = read_bytes(file, Kind.IMAGE)
        total.update(f"{file.relative_to(path).as_posix()}\0{len(content)}\0".encode() + content)
    return total.hexdigest()


def files_in(path: Path) -> list[Path]:
    """In the order of their relative names."""
    return sorted(
        (file for file in path.rglob("*") if not file.is_dir()), key=lambda file: file.relative_to(path).as_posix()
    )


def stamp(path: Path, wanted: str) -> str:
    """Changes with `wanted`, and when the file at `path`, or one in the folder there, is written anew."""
    total = hashlib.sha256(wanted.encode())
    for file in [path] if path.is_file() else files_in(path):
        about = file.stat()
        total.update(
            f"{file.relative_to(path).as_posix()}\0{about.st_size} {about.st_mtime_ns} {about.st_ino}\0".encode()
        )
    return total.hexdigest()


def differing(folder: Path, wanted: Mapping[str, str]) -> list[str]:
    """The files, or folders, below `folder` that have not the digests that are `wanted`.

    What was found intact is noted in the folder, where that can be written, and not read again until its size, time or
    inode change.
    """
    note = folder / COMPARED
    try:
        known = dict(read_record(note, Compared).root) if note.exists() else {}
    except UserError:  # somebody else's, or damaged: it only saves time
        known = {}
    odd, found = [], {}
    for key, expected in wanted.items():
        stamped = stamp(folder / key, expected)
        if known.get(key) != stamped and digest(folder / key) != expected:
            odd.append(key)
        else:
            found[key] = stamped
    if not found.items() <= known.items():
        with suppress(UserError, OSError):  # a folder of somebody else's
            write_json(note, {**known, **found})
    return odd
