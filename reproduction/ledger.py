"""What was done so far, by which command and in how many seconds: one JSON file beside the runs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from helper.errors import UserError
from helper.files import read_json, write_json
from reproduction.steps import Step


@dataclass
class Record:
    """`seconds`: of all attempts together."""

    command: list[str]
    seconds: float = 0.0
    done: bool = False


class Ledger:
    """The records of a configuration's steps, by name, on disk after every change."""

    def __init__(self, path: Path):
        self.path = path
        self.records: dict[str, Record] = {}
        if not path.exists():
            return
        what, remedy = "the record of a reproduction", "move it aside to begin anew"
        content = read_json(path, what, remedy)
        try:
            self.records = {name: Record(**record) for name, record in content.items()}
        except (TypeError, AttributeError) as error:
            raise UserError(f"{path}: not {what}; {remedy}") from error

    def is_done(self, step: Step) -> bool:
        """Whether this very command has ended well, and what it wrote is still there."""
        if not step.command:
            return step.marker.exists()
        record = self.records.get(step.name)
        return bool(record and record.done and record.command == list(step.command) and step.marker.exists())

    def add(self, step: Step, seconds: float, *, done: bool) -> None:
        record = self.records.setdefault(step.name, Record(list(step.command)))
        if record.command != list(step.command) or record.done:
            record = self.records[step.name] = Record(list(step.command))
        record.seconds, record.done = record.seconds + seconds, done
        write_json(self.path, {name: asdict(one) for name, one in self.records.items()})

    def seconds(self, step: Step) -> float:
        record = self.records.get(step.name)
        return record.seconds if record else 0.0
