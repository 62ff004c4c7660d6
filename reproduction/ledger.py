"""What was done so far, by which command and in how many seconds: one JSON file beside the runs."""

from __future__ import annotations

from pathlib import Path

from formats.reproduction import DoneStep, DoneSteps
from helper.files import read_record, write_json
from reproduction.steps import Step


class Ledger:
    """The records of a configuration's steps, by name, on disk after every change."""

    def __init__(self, path: Path):
        self.path = path
        self.records = dict(read_record(path, DoneSteps).root) if path.exists() else {}

    def is_done(self, step: Step) -> bool:
        """Whether this very command has ended well, and what it wrote is still there."""
        if not step.command:
            return step.marker.exists()
        record = self.records.get(step.name)
        return bool(record and record.done and record.command == tuple(step.command) and step.marker.exists())

    def add(self, step: Step, seconds: float, *, done: bool) -> None:
        record, command = self.records.get(step.name), tuple(step.command)
        before = record.seconds if record and record.command == command and not record.done else 0.0
        self.records[step.name] = DoneStep(command=command, seconds=before + seconds, done=done)
        write_json(self.path, DoneSteps(self.records).as_json())

    def seconds(self, step: Step) -> float:
        record = self.records.get(step.name)
        return record.seconds if record else 0.0
