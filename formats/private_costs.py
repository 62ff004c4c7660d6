"""private_inference.json and estimate.json: what private inference of each of a few networks costs."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from formats.constants import KnownConstants, Machine
from formats.measured import Kept
from formats.record import (
    Amount,
    Count,
    Document,
    Lax,
    Number,
    Options,
    Percent,
    Plain,
    Positive,
    Record,
    Sentences,
    Text,
)

SCHEMA: Final = "rlnet-private-inference-1"
# fmt: off
Kind = Literal[
    "conv", "linear", "affine", "relu", "shift", "add", "average_pool", "max_pool", "flatten", "output", "set_up",
    "correlations",
]
# fmt: on


Bits = Annotated[int, Field(ge=32, le=64, multiple_of=32)]  # of the ring that a comparison is made in
State = Literal["cold", "warm"]  # of the first image, and of later ones


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
    total: dict[State, CostRecord]

    @property
    def state(self) -> State:
        """Of the images that repeat, where there were any."""
        return "warm" if "warm" in self.total else "cold"

    @property
    def repeated(self) -> CostRecord:
        """Their total."""
        return self.total[self.state]

    @model_validator(mode="after")
    def has_a_first_image(self) -> Self:
        if "cold" not in self.total:
            raise ValueError("should have the total of a cold image")
        return self


AccuracySource = Literal["validation", "training", "training_test"]


class KnownAccuracy(Record):
    """In per cent through the branch, from an evaluation or the training run, not through the engine.

    `source`: in training those held out, or with training_test test images. `attacked_images`: those that AdvA is of,
    where they are fewer.
    """

    source: AccuracySource
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


class SpeedRecord(Record):
    """Of a link: `bandwidth` in bits per second each way, `rtt` in seconds there and back."""

    name: Text | None
    bandwidth: Annotated[float, Field(gt=0, le=1e15)]
    rtt: Amount


class EstimateRecord(SpeedRecord):
    """Seconds that an image would take over a link."""

    seconds: dict[State, Amount]

    def at(self, state: str) -> float | None:
        """'cold' or 'warm'; None where there was none."""
        return next((value for name, value in self.seconds.items() if name == state), None)


class OtherClass(Record):
    """An image whose class was not PyTorch's, and by how much PyTorch's first class led its second."""

    image: Count
    margin: Amount


class Agreement(Record):
    """With the same network in plain PyTorch."""

    images: Positive
    same_class: Count
    largest_logit_error: Amount
    right: Count | None = None
    other_class: Annotated[tuple[OtherClass, ...], Lax] = ()


class KnownNetwork(Record):
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

    def accuracy_of(self, metric: str) -> float | None:
        """'CA', 'NPA' or 'AdvA'."""
        return getattr(self.accuracy, metric) if self.accuracy else None


class MeasuredCosts(KnownNetwork):
    """What one image of a network cost. `batch`: how many images ran together."""

    digest: Text | None = None
    setup_seconds: Amount | None = None
    agreement: Agreement | None = None
    comparison: dict[Text, Bits] | None = None
    batch: Positive = 1
    costs: CostsRecord
    estimates: Annotated[tuple[EstimateRecord, ...], Lax] = ()


class EngineRecord(Record):
    """The secure engine, and how it was run."""

    name: Text = "SPU"
    protocol: Text
    dealer: bool = False
    set_up: Text | None = None
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


class OnceRecord(Record):
    """What the parties set up once, for all images."""

    bytes: Amount
    seconds: Amount


class EstimatedCosts(KnownNetwork):
    """One network over one link; `seconds`: where they go, and their `total`; `set_up`: None where that is nothing."""

    network: SpeedRecord
    bytes: Amount
    rounds: Amount
    seconds: Annotated[dict[Text, Number], Field(min_length=1)]
    set_up: OnceRecord | None = None
    derived_from_published: Amount | None = None

    @property
    def total(self) -> float:
        return self.seconds["total"]

    @model_validator(mode="after")
    def has_a_total(self) -> Self:
        if "total" not in self.seconds:
            raise ValueError("should have a total among its seconds")
        return self


class Estimates(Document):
    """estimate.json: what private inference would cost by the `constants`, without having been run."""

    kind: ClassVar[str] = "an estimate.json"
    remedy: ClassVar[str] = "estimate again"

    protocol: Text
    engine: EngineRecord | None = None
    constants: KnownConstants | None = None
    estimates: Annotated[tuple[EstimatedCosts, ...], Field(min_length=1), Lax]
