"""Finished measurements on disk at once, so that an evaluation that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from helper.errors import UserError
from helper.files import file_digest, lock_folder, read_json, write_json
from helper.processes import Processes, on_main_process


class Measurements:
    """The measurements of one checkpoint, whose bytes have the `digest`, in the file `path`.

    Each lies under its name and all that its figures depend on, so that other options add to the file and take nothing
    away. A file of other weights is begun anew, or with `must_match`, because the user named it, is an error.
    """

    lock: object = None  # held for as long as there may be something to write

    def __init__(self, path: Path, digest: str, processes: Processes, *, must_match: bool = False):
        self.path, self.digest, self.processes = path, digest, processes
        content = on_main_process(partial(self._read, must_match))
        self.cells: dict[str, dict] = content["cells"]
        self.unfinished: dict[str, dict] = content.get("unfinished", {})

    def _read(self, must_match: bool) -> dict[str, Any]:
        content = None
        if self.path.exists():
            what, remedy = "a file of measurements", "remove it to begin anew"
            content = read_json(self.path, what, remedy)
            try:
                if content["checkpoint"] == self.digest:
                    print(f"{len(content['cells'])} measurements of these weights are already in {self.path}")
                    return content
            except (LookupError, TypeError) as error:
                raise UserError(f"{self.path}: not {what}; {remedy}") from error
        if must_match:
            raise UserError(f"--resume {self.path}: " + ("of other weights" if content else "no such file"))
        return {"cells": {}}

    def take(self, name: str, measure: Callable[[], dict], /, **settings: object) -> dict:
        """The figures under `name` and `settings`: those on disk, or else `measure()`'s, which are then on disk."""
        key = _key(name, settings)
        if key not in self.cells:
            self.cells[key] = measure()
            self.unfinished.pop(key, None)
            self._write()
        return self.cells[key]

    def take_in_parts(
        self, name: str, measure: Callable[[dict, Callable[[dict], None]], dict], /, **settings: object
    ) -> dict:
        """As `take`, of `measure(known, keep)`: what it gives to `keep` is on disk, and after a kill it is `known`."""
        key = _key(name, settings)

        def keep(known: dict) -> None:
            self.unfinished[key] = known
            self._write()

        return self.take(name, lambda: measure(self.unfinished.get(key, {}), keep), **settings)

    def say(self, text: str) -> None:
        """A result as it comes: the rest may take hours."""
        if self.processes.is_main:
            tqdm.write(text)

    def _write(self) -> None:
        content = {"checkpoint": self.digest, "cells": self.cells}
        if self.unfinished:
            content["unfinished"] = self.unfinished
        if self.processes.is_main:
            write_json(self.path, content)


def _key(name: str, settings: dict) -> str:
    return ", ".join([name, *(f"{setting} {value}" for setting, value in settings.items())])


class Unsaved:
    """In the place of `Measurements`, for a network that has no file: nothing is kept, and nothing said."""

    def take(self, name: str, measure: Callable[[], dict], /, **settings: object) -> dict:
        return measure()

    def take_in_parts(
        self, name: str, measure: Callable[[dict, Callable[[dict], None]], dict], /, **settings: object
    ) -> dict:
        return measure({}, lambda known: None)

    def say(self, text: str) -> None:
        pass


def open_measurements(folder: Path, checkpoint: Path, processes: Processes, resume: Path | None) -> Measurements:
    """Those of `checkpoint` in `folder`, which is locked for this run, or in the file `resume`."""
    lock: list[object] = []
    on_main_process(lambda: lock.append(lock_folder(folder)))
    file = resume or folder / "measurements.json"
    measured = Measurements(file, file_digest(checkpoint), processes, must_match=resume is not None)
    measured.lock = lock
    return measured
