"""zoo/index.json: the trained networks that come with the repository."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from formats.checkpoint import Interpolation
from formats.measured import AttackRecord, Branch, Origin
from formats.record import Amount, Count, Digest, Lax, Name, Percent, Plain, Positive, Record, Sentences, Table, Text


class ZooAccuracy(Record):
    """In per cent through one branch; None where it was not measured."""

    CA: Percent | None = None
    NPA: Percent | None = None
    AdvA: Percent | None = None
    AutoAttack: Percent | None = None


class PrivateCost(Record):
    """Of one image after the first; `bytes` both ways."""

    protocol: Text
    bytes: Count
    rounds: Count


class ZooEntry(Record):
    """A network: its file in zoo/, what it is worth, and how it was made; None stands for what nobody knows.

    `accuracy`: by branch; `images`: how many each metric was measured on; `attacks`: under which; `teacher`: its name
    in the zoo; `epochs`, `hours`: of all runs that `command` names.
    """

    name: Name
    file: Name
    sha256: Digest
    model: Name
    dataset: Name | None = None
    stage: Literal[0, 1, 2] | None = None
    kind: Literal["raw", "averaged"] | None = None
    relus: Count
    total: Positive
    branches: Annotated[int, Field(ge=1, le=99)]
    interpolation: Interpolation | None = None
    accuracy: dict[Branch, ZooAccuracy] = Field(default_factory=dict)
    images: dict[Text, Positive] = Field(default_factory=dict)
    attacks: dict[Text, AttackRecord] = Field(default_factory=dict)
    corrupted_images: Origin | None = None
    warnings: Sentences = ()
    private: PrivateCost | None = None
    teacher: Name | None = None
    commit: Text | None = None
    command: Text | None = None
    epochs: Count | None = None
    hours: Amount | None = None
    seed: Count | None = None
    select_on: Plain = None
    note: Text | None = None


class ZooIndex(Table[Annotated[tuple[ZooEntry, ...], Lax]]):
    kind: ClassVar[str] = "an index of networks"
    remedy: ClassVar[str] = "check the repository out again"
