"""measurements.json: what is measured already of a checkpoint, so that an evaluation that was killed goes on."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from formats.measured import Branch, ByBranch
from formats.record import Count, Document, Finite, Number, Positive, Share, Table, Text

Letters = Annotated[str, StringConstraints(pattern=r"^[?01]*$", max_length=10**7)]


class MeasurementsRecord(Document):
    """Of the weights with the digest `checkpoint`, or of random ones, by their description. `cells`: by name and all
    that their figures depend on; `unfinished`: of an attack in parts, what each has done to every image.
    """

    kind: ClassVar[str] = "a file of measurements"
    remedy: ClassVar[str] = "remove it to begin anew"

    checkpoint: Text
    cells: dict[Text, dict[Text, Finite]]
    unfinished: dict[Text, dict[Text, Letters]] = Field(default_factory=dict)


class Measurement(Document):
    """The figures of a cell."""

    kind: ClassVar[str] = "a measurement"
    remedy: ClassVar[str] = "remove the file to begin anew"


class Evaluated(Measurement):
    """% of the images, clean and under attack, by branch."""

    images: Positive
    CA: ByBranch = Field(default_factory=dict)
    AdvA: ByBranch = Field(default_factory=dict)


class SelfChecks(Measurement):
    """How many of the images leave [0, 1], get other logits from an equal call, have no gradient (by branch)."""

    images: Positive
    out_of_range: Count
    unrepeatable: Count
    zero_gradients: dict[Branch, Count]


class Losses(Measurement):
    """Mean cross-entropy of clean and of adversarial images."""

    clean: Number
    adv: Number | None = None

    def by_view(self) -> dict[str, float]:
        return {"clean": self.clean} | ({} if self.adv is None else {"adv": self.adv})


class Densities(Table[dict[Text, Share]]):
    """The share of its weights that a layer keeps."""

    kind: ClassVar[str] = Measurement.kind
    remedy: ClassVar[str] = Measurement.remedy
