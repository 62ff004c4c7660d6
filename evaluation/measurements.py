"""Finished measurements on disk at once, so that an evaluation that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from formats.measurements import MeasurementsRecord
from helper.errors import Read, UserError, checked
from helper.files import file_digest, lock_folder, read_record, write_json
from helper.processes import Processes, on_main_process


class Measurements:
    """The measurements of one checkpoint, whose bytes have the `digest`, in the file `path`.

    Each lies under its name and all that its figures depend on, so that other options add to the file and take nothing
    away. A file of other weights is begun anew, or with `must_match`, because the user named it, is an error.
    """

    lock: object = None  # held for as long as there may be something to write

    def __init__(self, path: Path, digest: str, processes: Processes, *, must_match: bool = False):
        self.path, self.digest, self.processes = path, digest, processes
        known = on_main_process(partial(self._read, must_match))
        self.cells, self.unfinished = dict(known.cells), dict(known.unfinished)

    def _read(self, must_match: bool) -> MeasurementsRecord:
        known = read_record(self.path, MeasurementsRecord) if self.path.exists() else None
        if known and known.checkpoint == self.digest:
            print(f"{len(known.cells)} measurements of these weights are already in {self.path}")
            return known
        if must_match:
            raise UserError(f"--resume {self.path}: " + ("of other weights" if known else "no such file"))
        return MeasurementsRecord(checkpoint=self.digest, cells={})

    def take(self, name: str, model: type[Read], measure: Callable[[], dict], /, **settings: object) -> Read:
        """The figures under `name` and `settings`: those on disk, or else `measure()`'s, which are then on disk.

        Raises UserError where those on disk are not as `model` has them.
        """
        key = _key(name, settings)
        if key not in self.cells:
            self.cells[key] = measure()
            self.unfinished.pop(key, None)
            self._write()
        return checked(model, self.cells[key], f"{self.path}, {key}")

    def take_in_parts(
        self,
        name: str,
        model: type[Read],
        measure: Callable[[dict, Callable[[dict], None]], dict],
        /,
        **settings: object,
    ) -> Read:
        """As `take`, of `measure(known, keep)`: what it gives to `keep` is on disk, and after a kill it is `known`."""
        key = _key(name, settings)

        def keep(known: dict) -> None:
            self.unfinished[key] = known
            self._write()

        return self.take(name, model, lambda: measure(self.unfinished.get(key, {}), keep), **settings)

    def say(self, text: str) -> None:
        """A result as it comes: the rest may take hours."""
        if self.processes.is_main:
            tqdm.write(text)

    def _write(self) -> None:
        unfinished = {"unfinished": self.unfinished} if self.unfinished else {}
        if self.processes.is_main:
            write_json(self.path, MeasurementsRecord(checkpoint=self.digest, cells=self.cells, **unfinished).as_json())


def _key(name: str, settings: dict) -> str:
    return ", ".join([name, *(f"{setting} {value}" for setting, value in settings.items())])


class Unsaved:
    """In the place of `Measurements`, for a network that has no file: nothing is kept, and nothing said."""

    def take(self, name: str, model: type[Read], measure: Callable[[], dict], /, **settings: object) -> Read:
        return checked(model, measure(), name)

    def take_in_parts(
        self,
        name: str,
        model: type[Read],
        measure: Callable[[dict, Callable[[dict], None]], dict],
        /,
        **settings: object,
    ) -> Read:
        return checked(model, measure({}, lambda known: None), name)

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
