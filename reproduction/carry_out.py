"""Carry out a configuration: what is left of its steps, one after the other, then the table and the page of results."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from helper.files import lock_folder
from helper.text import duration
from private_inference.engine.parties import ENGINE_PYTHON
from reporting.figure_style import save_figure
from reporting.pareto import pareto_figure
from reproduction.config import Config
from reproduction.costs import estimate
from reproduction.ledger import Ledger
from reproduction.options import Work
from reproduction.private import is_estimate
from reproduction.published import put_into
from reproduction.runner import ROOT, Runner
from reproduction.steps import OF_EVERY_ROW, Row, Step, plan
from reproduction.table import pareto_points, results_table


def carry_out(config: Config, work: Work, rounds: Sequence[str], *, publish: Path | None = None) -> None:
    """What the named rounds have left to do, and what came of it, into the folder of `work`.

    `publish`: a Markdown file that the table goes into too. Raises UserError where a step fails.
    """
    place = work.place
    steps, rows = plan(config, place, rounds)
    ledger = Ledger(place.save / "steps.json")
    if work.dry_run:
        print_plan(steps, estimate(steps, ledger, config, place, work.threads), ledger)
        return

    lock = lock_folder(place.save)  # held while this process lives
    runner = Runner(ledger, work.time_budget, work.threads)
    without_engine = [step for step in steps if not can_run(step)]
    if without_engine:
        print(f"note: {len(without_engine)} measurements of private inference are left out: run `make pi` first")
    left = [step for step in steps if can_run(step) and not ledger.is_done(step)]
    for number, step in enumerate(left, start=1):
        if runner.stopping:
            break
        print(f"\n[{number}/{len(left)}] {step.name}\n$ python {' '.join(step.command)}", flush=True)
        runner.run(step)
    if any(ledger.is_done(step) for step in steps):
        write_results(publish, place.save, config, rows, ledger)
    waiting = [step.name for step in steps if not ledger.is_done(step)]
    print(f"{len(waiting)} steps are left; the same command goes on" if waiting else "all steps are done")
    del lock


def can_run(step: Step) -> bool:
    return step.kind != "private" or is_estimate(step) or ENGINE_PYTHON.exists()


def print_plan(steps: Sequence[Step], seconds: dict[str, float | None], ledger: Ledger) -> None:
    for step in steps:
        left = seconds[step.name]
        state = "done" if ledger.is_done(step) else "unknown" if left is None else duration(left)
        print(f"{step.name:<44} {state}")
    unknown = sum(left is None for left in seconds.values())
    total = duration(sum(left or 0 for left in seconds.values()))
    print(f"left: {total}" + (f", and {unknown} steps of kinds that were never run here" if unknown else ""))


def write_results(publish: Path | None, save: Path, config: Config, rows: Sequence[Row], ledger: Ledger) -> None:
    """The table, the page of all evaluations, and accuracy against ReLUs and against seconds as a figure."""
    text = results_table(config, rows, ledger)
    text = put_into(save / "results.md", config.name, text)
    if publish:
        put_into(publish, config.name, text)
    measured = [
        str(step.marker)
        for row in rows
        for kind, step in row.measurements.items()
        if kind in (*OF_EVERY_ROW, "private") and ledger.is_done(step)
    ]
    if measured:
        page = save / "report.html"
        subprocess.run([sys.executable, "report.py", *measured, "--out", str(page)], cwd=ROOT, check=False)
    points, seconds = pareto_points(rows, ledger)
    if len(points) > 1:
        save_figure(pareto_figure(points, seconds), save / "pareto")
    print(f"\n{text}\n\nwritten to {save / 'results.md'}")
