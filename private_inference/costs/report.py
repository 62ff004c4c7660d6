"""The folder of one measurement: what is measured is on disk before the next begins, and is not measured twice."""

from __future__ import annotations

from helper.machine import this_machine, versions

from pathlib import Path
from time import perf_counter

from formats.constants import Machine
from formats.private_costs import SCHEMA, EngineRecord, KnownNetwork, LinkRecord, MeasuredCosts, PrivateCosts
from helper.files import lock_folder, replace_file, write_json
from private_inference.costs.figure import cost_figure, layer_figure
from private_inference.costs.sentences import sentences
from private_inference.costs.tables import (
    FILE_NAME,
    comparison_table,
    costs_csv,
    layer_table,
    read_costs,
)
from private_inference.engine.protocols import EngineSettings
from reporting.figure_style import save_figures

MUST_AGREE = ("engine", "machine", "link", "images")  # of an earlier run whose measurements are taken over


class CostReport:
    """Collects records (private_inference/costs/measurement.py) in save/private_inference/<name>/.

    Raises UserError where another process writes there, and for a file of that name that is none of ours.
    """

    def __init__(
        self,
        folder: Path,
        settings: EngineSettings,
        images: int | None,
        link: LinkRecord,
        *,
        recorded: dict,
        again: bool,
    ):
        self.started = perf_counter()
        self.folder = folder
        self._lock = lock_folder(self.folder)
        self.results = PrivateCosts(
            schema=SCHEMA,
            engine=EngineRecord(name="SPU", **settings.described(), batch=settings.batch, threads=settings.threads),
            machine=Machine.model_validate(this_machine()),
            link=link,
            images=images,
            measured=(),
            versions=versions(),
            args=recorded,
        )
        self._earlier: dict[tuple, MeasuredCosts] = {}
        self._in_the_way = False
        if (self.folder / FILE_NAME).is_file():
            found = read_costs(self.folder / FILE_NAME)
            same = all(getattr(found, name) == getattr(self.results, name) for name in MUST_AGREE)
            self._in_the_way = again or not same
            if not self._in_the_way:
                self._earlier = {_key(record): record for record in found.measured}

    def earlier(self, record: KnownNetwork) -> MeasuredCosts | None:
        """What an earlier run, with the same settings on the same machine, measured of this very network."""
        return self._earlier.get(_key(record))

    def add(self, record: MeasuredCosts) -> None:
        if self._in_the_way:
            self._move_aside()
        every = (*self.results.measured, record)
        spent = round(perf_counter() - self.started, 1)
        self.results = self.results.model_copy(update={"measured": every, "wall_time_s": spent})
        self.folder.mkdir(parents=True, exist_ok=True)
        # Those of an earlier run that are still to come stay in the file until their turn.
        done = {_key(other) for other in every}
        waiting = [other for key, other in self._earlier.items() if key not in done]
        written = self.results.model_copy(update={"measured": (*every, *waiting)})
        write_json(self.folder / FILE_NAME, written.as_json())

    def _move_aside(self) -> None:
        """An earlier run with other settings is kept, under another name."""
        number = 1
        while (aside := self.folder / f"private_inference.old{number}.json").exists():
            number += 1
        (self.folder / FILE_NAME).rename(aside)
        self._in_the_way = False

    def finish(self) -> None:
        """The table of all layers and figures into the folder, everything in words to the terminal."""
        replace_file(self.folder / "private_inference.csv", lambda file: file.write(costs_csv(self.results).encode()))
        figures = {"costs": cost_figure(self.results)}
        for number, record in enumerate(self.results.measured, start=1):
            figures[f"layers_{number}"] = layer_figure(record, self.results.engine)
            print(f"{layer_table(record)}\n")
        save_figures(figures, self.folder / "figures")
        print(comparison_table(self.results), *sentences(self.results), f"written to {self.folder}", sep="\n")


def _key(record: KnownNetwork) -> tuple:
    return record.sha256, record.branch, record.fused is None
