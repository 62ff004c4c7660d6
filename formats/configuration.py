"""reproduce/*.yaml: which networks reproduce.py trains, in which rounds, and how they are measured."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from formats.record import Document, Lax, Name, Options, Record, Share, Text

Seed = Annotated[int, Field(ge=0, lt=2**32)]
WholeNumber = Annotated[int, Field(ge=0, le=10**9)]


class RoundRecord(Record):
    """What differs in a round. `teacher_file`: a finished one; `budgets`: '25%' of the ReLUs, '50k' of them, or '12s'.

    The tables are options of all trainings, of each, and of what is measured; null takes back what holds for all
    rounds.
    """

    model_config = ConfigDict(extra="forbid")

    title: Text | None = None
    budgets: Annotated[tuple[WholeNumber | Text, ...], Lax] = ()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Lax] = (0,)
    teacher_of: Text | None = None
    teacher_file: Text | None = None
    interpolate: Share | None = None
    checkpoint: Literal["TA", "ATA"] = "TA"
    training: Options | None = None
    teacher: Options | None = None
    stage1: Options | None = None
    stage2: Options | None = None
    evaluation: Options | None = None
    autoattack: Options | None = None
    private: Options | None = None


class Configuration(Document, RoundRecord):
    """What stands at the top holds for all rounds."""

    kind: ClassVar[str] = "a configuration of reproduce.py"
    remedy: ClassVar[str] = "those in reproduce/ are some"

    model: Name
    dataset: Text
    rounds: Annotated[dict[Name, RoundRecord | None], Field(min_length=1)]
