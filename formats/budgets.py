"""ReLU budgets: a list of one network's layers, and the sensitivity profiles that any total is shared out by."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from formats.record import Counts, Document, Finite, Lax, Name, Number, Positive, Record, Share, Table, Text

LAYERS = Field(min_length=1, max_length=10_000)
STANDS_IN = "ResNet18"  # for architectures without a profile of their own


class BudgetList(Document):
    """sensitivity/*.yaml, and the file of --sensitivity: the share of its ReLUs that every layer keeps.

    `sensitivity`: how much each layer matters, where that was measured, and `provenance`, how; `relus`: those kept.
    """

    kind: ClassVar[str] = "a budget file"
    remedy: ClassVar[str] = "it needs label, model, dataset, image_size, source and fractions"

    label: Name
    model: Name
    dataset: Name
    image_size: Positive
    source: Text
    sensitivity: Annotated[tuple[Number, ...], LAYERS, Lax] | None = None
    provenance: dict[Text, Finite] | None = None
    relus: Counts | None = None
    fractions: Annotated[tuple[Share, ...], LAYERS, Lax]


Sensitivity = Annotated[float, Field(ge=1e-6, le=1)]  # totals are divided by it


class Profile(Record):
    """`eta`: how sensitive every layer is, in the order of the forward pass; `source`: where it comes from."""

    source: Text
    eta: Annotated[tuple[Sensitivity, ...], LAYERS, Lax]


class Profiles(Table[dict[Name, Profile]]):
    """sensitivity/profiles.yaml: by architecture."""

    kind: ClassVar[str] = "a file of sensitivity profiles"
    remedy: ClassVar[str] = "every architecture needs source and eta"

    @model_validator(mode="after")
    def holds_what_stands_in(self) -> Self:
        if STANDS_IN not in self.root:
            raise ValueError(f"should hold {STANDS_IN}, which stands in for architectures without a profile")
        return self

    def of(self, architecture: str) -> tuple[Profile, bool]:
        """(its profile, or the one that stands in for it; whether it is its own)"""
        return self.root.get(architecture, self.root[STANDS_IN]), architecture in self.root
