"""Finished measurements on disk at once, so that an evaluation that was killed goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from helper.errors import UserError
from helper.files import file_digest, lock_folder, write_json
from helper.processes import Processes, on_main_process


class Measurements:
    """The measurements of one checkpoint, whose bytes have the `digest`, in the file `path`.

    Each lies under its name and all that its figures depend on, so that other options add to the file and take nothing
    away. A file of other weights is begun anew, or with `must_match`, because the user named it, is an error.
    """

    def __init__(self, path: Path, digest: str, processes: Processes, *, must_match: bool = False):
        self.path, self.digest, self.processes = path, digest, processes
        self.cells: dict[str, dict] = on_main_process(partial(self._read, must_match))

    def _read(self, must_match: bool) -> dict[str, dict]:
        content = None
        try:
            content = json.loads(self.path.read_text())
            if content["checkpoint"] == self.digest:
                print(f"{len(content['cells'])} measurements of these weights are already in {self.path}")
                return content["cells"]
        except FileNotFoundError:
            pass
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(f"{self.path}: not a file of measurements; remove it to begin anew") from error
        if must_match:
            raise UserError(f"--resume {self.path}: " + ("of other weights" if content else "no such file"))
        return {}

    def take(self, name: str, measure: Callable[[], dict], /, **settings: object) -> dict:
        """The figures under `name` and `settings`: those on disk, or else `measure()`'s, which are then on disk."""
        key = ", ".join([name, *(f"{setting} {value}" for setting, value in settings.items())])
        if key not in self.cells:
            self.cells[key] = measure()
            if self.processes.is_main:
                write_json(self.path, {"checkpoint": self.digest, "cells": self.cells})
        return self.cells[key]


class Unsaved:
    """In the place of `Measurements`, for a network that has no file: nothing is kept."""

    def take(self, name: str, measure: Callable[[], dict], /, **settings: object) -> dict:
        return measure()


def open_measurements(folder: Path, checkpoint: Path, processes: Processes, resume: Path | None) -> Measurements:
    """Those of `checkpoint` in `folder`, which is locked for this run, or in the file `resume`."""
    lock = []
    on_main_process(lambda: lock.append(lock_folder(folder)))
    file = resume or folder / "measurements.json"
    measured = Measurements(file, file_digest(checkpoint), processes, must_match=resume is not None)
    measured.lock = lock  # as long as there may be something to write
    return measured
