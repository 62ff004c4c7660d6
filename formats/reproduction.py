"""steps.json: which steps of a reproduction are done."""

from __future__ import annotations

from typing import Annotated, ClassVar

from formats.record import Amount, Lax, Record, Table, Text


class DoneStep(Record):
    """A step's command, the seconds of all attempts together, and whether it has ended well."""

    command: Annotated[tuple[Text, ...], Lax]
    seconds: Amount = 0.0
    done: bool = False


class DoneSteps(Table[dict[Text, DoneStep]]):
    """By the step's name."""

    kind: ClassVar[str] = "the record of a reproduction"
    remedy: ClassVar[str] = "move it aside to begin anew"
