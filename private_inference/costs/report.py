"""The folder of one measurement: what is measured is on disk before the next begins, and is not measured twice."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

from helper.machine import this_machine, versions

from formats.private_costs import SCHEMA
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


class CostReport:
    """Collects records (private_inference/costs/measurement.py) in save/private_inference/<name>/.

    Raises UserError where another process writes there, and for a file of that name that is none of ours.
    """

    def __init__(
        self, folder: Path, settings: EngineSettings, images: int | None, link: dict, *, recorded: dict, again: bool
    ):
        self.started = perf_counter()
        self.folder = folder
        self._lock = lock_folder(self.folder)
        self.results: dict[str, Any] = {
            "schema": SCHEMA,
            "engine": {"name": "SPU", **settings.described(), "batch": settings.batch, "threads": settings.threads},
            "machine": this_machine(),
            "link": link,
            "images": images,
            "measured": [],
            "versions": versions(),
            "args": recorded,
        }
        self._earlier: dict[tuple, dict] = {}
        self._in_the_way = False
        if (self.folder / FILE_NAME).is_file():
            found = read_costs(self.folder / FILE_NAME)
            same = all(found[key] == self.results[key] for key in ("engine", "machine", "link", "images"))
            self._in_the_way = again or not same
            if not self._in_the_way:
                self._earlier = {_key(record): record for record in found["measured"]}

    def earlier(self, record: dict) -> dict | None:
        """What an earlier run, with the same settings on the same machine, measured of this very network."""
        return self._earlier.get(_key(record))

    def add(self, record: dict) -> None:
        if self._in_the_way:
            self._move_aside()
        self.results["measured"].append(record)
        self.results["wall_time_s"] = round(perf_counter() - self.started, 1)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Those of an earlier run that are still to come stay in the file until their turn.
        done = {_key(other) for other in self.results["measured"]}
        waiting = [other for key, other in self._earlier.items() if key not in done]
        write_json(self.folder / FILE_NAME, {**self.results, "measured": [*self.results["measured"], *waiting]})

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
        for number, record in enumerate(self.results["measured"], start=1):
            figures[f"layers_{number}"] = layer_figure(record, self.results["engine"])
            print(f"{layer_table(record)}\n")
        save_figures(figures, self.folder / "figures")
        print(comparison_table(self.results), *sentences(self.results), f"written to {self.folder}", sep="\n")


def _key(record: dict) -> tuple:
    return record["sha256"], record["branch"], record["fused"] is None
