"""What the two parties of a private inference are told, say to each other, and bring back.

For Python 3.10 too, which the secure engine's environment may have.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from formats.private_costs import Bits, CostsRecord
from formats.program import ServedNetwork
from formats.record import Amount, Count, Digest, Document, Lax, Plain, Record, Table, Text

Images = Annotated[int, Field(ge=1, le=10**9)]
OTHER_VERSION = "is the other party of this version?"


class SettingsRecord(Record):
    """How the engine is run (private_inference/engine/protocols.py)."""

    protocol: Literal["cheetah", "semi2k"]
    comparison: Bits
    batch: Images
    set_up: Text | None
    threads: Annotated[int, Field(ge=1, le=2**16)]
    timeout: Annotated[float, Field(gt=0, le=1e9)]
    tls: Annotated[tuple[Text, Text, Text], Lax] | None
    layouts: bool


class JobRecord(Document):
    """job.json: a party's share of the work; `digest`: of the only program that a client agrees to."""

    kind: ClassVar[str] = "a party's job"
    remedy: ClassVar[str] = "measure_private_inference.py writes them"

    role: Literal["client", "server"]
    listen: Text
    peer: Text
    folder: Text
    settings: SettingsRecord
    digest: Digest | None = None


class Greeting(Document):
    """The first word of either party: beside these, how its engine is run. `images`: None from a server."""

    kind: ClassVar[str] = "a party's greeting"
    remedy: ClassVar[str] = "is the address right?"

    __pydantic_extra__: dict[Text, Plain] = Field(init=False)

    version: Count
    engine: Text
    images: Images | None
    batch: Images

    @property
    def runs(self) -> dict[str, object]:
        """What must be the same on both sides."""
        return {"version": self.version, "engine": self.engine, **(self.model_extra or {})}


class ProgramAnswer(Document):
    """The digest of the program as a party has it, and whether it is another than it was told to expect."""

    kind: ClassVar[str] = "a party's answer to a program"
    remedy: ClassVar[str] = OTHER_VERSION

    digest: Digest
    refused: bool


class Event(Document):
    """A line on a party's stdout: how far it is. `done`: of so many images, the last `batch` of them in `seconds`."""

    kind: ClassVar[str] = "an event"
    remedy: ClassVar[str] = "a library may have printed it"

    event: Text
    done: Count | None = None
    batch: Images | None = None
    of: Images | None = None
    seconds: Amount | None = None
    digest: Digest | None = None


class PartyResult(Document):
    """result.json: what a party measured, and knows of the network."""

    kind: ClassVar[str] = "a party's result"
    remedy: ClassVar[str] = "run it again"

    about: ServedNetwork
    digest: Digest
    engine: Text
    images: Images
    batch: Images
    comparison: dict[Text, Bits]
    setup_seconds: Amount
    costs: CostsRecord


class KnownPrograms(Table[dict[Text, Digest]]):
    """known_programs.json: of a server, by its address, the digest of the program that it had first."""

    kind: ClassVar[str] = "a list of known programs"
    remedy: ClassVar[str] = "remove it to begin a new one"
