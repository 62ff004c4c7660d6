"""private_inference.json: what private inference of each of a few networks was measured to cost."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from formats.constants import Machine
from formats.measured import Kept
from formats.record import Amount, Count, Document, Lax, Options, Percent, Plain, Positive, Record, Sentences, Text

SCHEMA: Final = "rlnet-private-inference-1"
# fmt: off
Kind = Literal[
    "conv", "linear", "affine", "relu", "shift", "add", "average_pool", "max_pool", "flatten", "output", "set_up",
    "correlations",
]
# fmt: on


class CostRecord(Record):
    """Of one image: bytes from the client and to it, rounds, seconds."""

    upload: Amount = 0
    download: Amount = 0
    rounds: Amount = 0
    seconds: Amount = 0


class StepCostRecord(Record):
    """A step of the network, or what prepares them: for the first image, and for later ones where there were any."""

    layer: Text
    kind: Kind
    comparisons: Count
    cold: CostRecord
    warm: CostRecord | None = None


class CostsRecord(Record):
    """Step by step; and the sums that follow from it."""

    layers: Annotated[tuple[StepCostRecord, ...], Field(min_length=1), Lax]
    total: dict[Literal["cold", "warm"], CostRecord] = Field(default_factory=dict)


class KnownAccuracy(Record):
    """In per cent through the branch, from an evaluation or the training run, not through the engine.

    `attacked_images`: those that AdvA is of, where they are fewer.
    """

    source: Literal["validation", "training"]
    images: Positive
    attacked_images: Positive | None = None
    CA: Percent | None = None
    NPA: Percent | None = None
    AdvA: Percent | None = None


class LinkRecord(Record):
    """Between the two parties; what nobody knows is None."""

    kind: Literal["loopback", "own_machine", "emulated", "network"]
    name: Text | None = None
    bandwidth: Amount | None = None
    rtt: Amount | None = None


class EstimateRecord(Record):
    """Seconds that an image would take over a link."""

    name: Text | None
    bandwidth: Annotated[float, Field(gt=0, le=1e15)]
    rtt: Amount
    seconds: dict[Literal["cold", "warm"], Amount]


class Agreement(Record):
    """With the same network in plain PyTorch."""

    images: Positive
    same_class: Count
    largest_logit_error: Amount
    right: Count | None = None


class MeasuredCosts(Record):
    """One network. `file`, `sha256`: of its checkpoint, where that is known; `fused`: layers that were made one."""

    file: Text | None
    sha256: Text | None = None
    label: Text
    model: Text
    dataset: Text | None = None
    branch: Count
    stage: Count | None = None
    relus: Kept
    fused: Sentences | None = None
    accuracy: KnownAccuracy | None = None
    digest: Text | None = None
    setup_seconds: Amount | None = None
    agreement: Agreement | None = None
    comparison: dict[Text, Literal[32, 64]] | None = None
    batch: Positive = 1
    costs: CostsRecord
    estimates: Annotated[tuple[EstimateRecord, ...], Lax] = ()


class EngineRecord(Record):
    """The secure engine, and how it was run."""

    name: Text = "SPU"
    protocol: Text
    dealer: bool = False
    batch: Positive = 1
    threads: Positive = 1


class PrivateCosts(Document):
    kind: ClassVar[str] = "a private_inference.json"
    remedy: ClassVar[str] = "measure again"

    schema_: Literal["rlnet-private-inference-1"] = Field(alias="schema")
    engine: EngineRecord
    machine: Machine
    link: LinkRecord
    images: Positive | None = None
    measured: Annotated[tuple[MeasuredCosts, ...], Lax]
    versions: dict[Text, Text] = Field(default_factory=dict)
    args: Options = Field(default_factory=dict)
    wall_time_s: Plain = None
