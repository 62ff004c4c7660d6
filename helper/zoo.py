"""Trained networks that come with the repository: zoo/index.json, and the short name `zoo:NAME` of each."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path

from helper.errors import UserError
from helper.files import file_digest

FOLDER = Path(__file__).parent.parent / "zoo"
PREFIX = "zoo:"


def read_index(folder: Path = FOLDER) -> list[dict]:
    """The entries, in the order in which they were added. Raises UserError for an index that is none."""
    path = folder / "index.json"
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(entry[key], str) for entry in entries for key in ("name", "file", "sha256")):
            raise TypeError("name, file and sha256 are texts")
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(f"{path}: not an index of networks ({error})") from error
    return entries


def local_file(path: str | Path, folder: Path = FOLDER) -> Path:
    """`path` itself; for 'zoo:NAME' the file of that network, whose digest is checked.

    Raises UserError for a name that the zoo does not have, and for a file that is not what the index says.
    """
    if not str(path).startswith(PREFIX):
        return Path(path)
    name = str(path).removeprefix(PREFIX)
    entries = {entry["name"]: entry for entry in read_index(folder)}
    if name not in entries:
        close = get_close_matches(name, entries, n=1)
        hint = f"did you mean {PREFIX}{close[0]}? " if close else ""
        raise UserError(f"{path}: no such network; {hint}The zoo has {', '.join(entries) or 'none yet'}")
    file = folder / entries[name]["file"]
    if file.parent != folder or not file.is_file():
        raise UserError(f"{path}: its file {file} is missing; check the repository out again")
    if file_digest(file) != entries[name]["sha256"]:
        raise UserError(f"{path}: {file} is not the file that the index describes; check the repository out again")
    return file
