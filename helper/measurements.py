"""Finished measurements on disk at once, so that an evaluation that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from helper.distributed import Processes, on_main_process
from helper.errors import UserError
from helper.run import write_json


class Measurements:
    """`settings`: everything that the figures depend on. Figures of other settings are never taken over.

    With `must_match`, a file of other settings is an error (the user named it); otherwise it is begun anew.
    """

    def __init__(self, path: Path, settings: dict, processes: Processes, *, must_match: bool = False):
        self.path, self.settings, self.processes = path, settings, processes
        self.cells: dict[str, dict] = on_main_process(partial(self._read, must_match))

    def _read(self, must_match: bool) -> dict[str, dict]:
        try:
            content = json.loads(self.path.read_text())
        except FileNotFoundError:
            content = None
        except ValueError as error:
            raise UserError(f"{self.path}: not a file of measurements; remove it to begin anew") from error
        if content and content["settings"] == self.settings:
            print(f"{len(content['cells'])} measurements are already in {self.path}")
            return content["cells"]
        if must_match:
            raise UserError(f"--resume {self.path}: no measurements of this checkpoint with these options")
        return {}

    def take(self, name: str, measure: Callable[[], dict]) -> dict:
        """The figures under `name`: those on disk, or else `measure()`'s, which are then on disk."""
        if name not in self.cells:
            self.cells[name] = measure()
            if self.processes.is_main:
                write_json(self.path, {"settings": self.settings, "cells": self.cells})
        return self.cells[name]


def file_digest(path: str | Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
