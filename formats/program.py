"""A network as a program: the description of its steps in a .npz file, and what two parties say of it.

For Python 3.10 too, which the secure engine's environment may have.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from formats.measured import Kept
from formats.record import Count, Document, Finite, Lax, Positive, Record, Text

FORMAT, VERSION = "rlnet-program", 1
STEPS = 100_000  # at most

Kind = Literal["conv", "linear", "affine", "shift", "add", "relu", "average_pool", "max_pool", "flatten"]
Size = Annotated[int, Field(ge=0, le=4096)]
Pair = Annotated[tuple[Size, Size], Lax]


class StepRecord(Record):
    """One step: the values it reads and makes, the shape of what it makes for one image, and its arrays' keys."""

    kind: Kind
    inputs: Annotated[tuple[Text, ...], Field(max_length=2), Lax]
    output: Text
    shape: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3), Lax]
    layer: Text
    settings: dict[Text, Size | Pair]
    arrays: dict[Text, Text]


class DecisionRecord(Record):
    """Layers that were made one, or why they were not; multiply-accumulates per image without and with it."""

    what: Text
    layers: Annotated[tuple[Text, ...], Lax]
    done: bool
    why: Text
    macs_before: Count
    macs_after: Count


class InputRecord(Record):
    """What the program takes: of a network images, (channels, height, width), pixels in [0, 1]."""

    name: Text
    shape: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3), Lax]


class ProgramRecord(Document):
    """The key 'program' of the file: a JSON text. `about`: what the network was; `output`: the value of its logits."""

    kind: ClassVar[str] = "a program file"
    remedy: ClassVar[str] = "export it again"

    format: Literal["rlnet-program"]
    version: Literal[1]
    about: dict[Text, Finite]
    input: InputRecord
    output: Text
    steps: Annotated[tuple[StepRecord, ...], Field(min_length=1, max_length=STEPS), Lax]
    decisions: Annotated[tuple[DecisionRecord, ...], Field(max_length=STEPS), Lax]


class ServedNetwork(Document):
    """What a server says about its network to a client."""

    kind: ClassVar[str] = "a description of a network"
    remedy: ClassVar[str] = "is the other party of this version?"

    model: Text
    dataset: Text
    branch: Count
    stage: Count
    relus: Kept
