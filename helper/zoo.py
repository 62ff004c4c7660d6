"""The trained networks that come with the repository: zoo/index.json, and `zoo:NAME`, the short name of each."""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path

from formats.zoo import ZooEntry, ZooIndex
from helper.errors import UserError
from helper.files import file_digest, read_record, real_path

PREFIX = "zoo:"
INDEX = "index.json"


def zoo_folder() -> Path:
    """zoo/ of this repository, or the folder that the environment's RLNET_ZOO names."""
    return Path(os.environ.get("RLNET_ZOO") or Path(__file__).parent.parent / "zoo")


def read_index() -> list[ZooEntry]:
    """The entries, in the order in which they were added; none where there is no zoo. Raises UserError for others."""
    path = zoo_folder() / INDEX
    return list(read_record(path, ZooIndex).root) if path.exists() else []


def entry_of(name: str) -> ZooEntry:
    """What the index says of the network `name`. Raises UserError, with the names that there are, where it is none."""
    entries = {entry.name: entry for entry in read_index()}
    if name in entries:
        return entries[name]
    close = get_close_matches(name, entries)
    hint = f"did you mean {' or '.join(PREFIX + other for other in close)}? " if close else ""
    raise UserError(f"{PREFIX}{name}: no such network; {hint}the zoo has {', '.join(entries) or 'none yet'}")


def zoo_file(name: str) -> Path:
    """The file of the network `name`. Raises UserError for an unknown one, and for a file other than the index says."""
    entry = entry_of(name)
    file = zoo_folder() / entry.file
    if not file.is_file():
        raise UserError(f"{PREFIX}{name}: {file} is missing; check the repository out again")
    if file_digest(file) != entry.sha256:
        raise UserError(f"{PREFIX}{name}: {file} is damaged, or was replaced; check the repository out again")
    return file


def in_zoo(path: Path) -> bool:
    return real_path(path).parent == real_path(zoo_folder())


def entry_of_file(path: Path) -> ZooEntry | None:
    """What the index says of a file of the zoo; None of any other."""
    return next((entry for entry in read_index() if in_zoo(path) and entry.file == path.name), None)


def local_file(path: str | Path) -> Path:
    """`path` itself, and of 'zoo:NAME' what `zoo_file` says."""
    text = str(path)
    return zoo_file(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else Path(path)
