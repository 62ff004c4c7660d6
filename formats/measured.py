"""What a network is worth: the part that checkpoints, results and the zoo have in common."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from formats.record import Count, Lax, Name, Number, Percent, Positive, Record, Text

Branch = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,2}$")]  # a batch-norm branch, as JSON has keys
ByBranch = dict[Branch, Percent]
Severity = Annotated[int, Field(ge=1, le=5)]
Severities = Annotated[tuple[Severity, ...], Field(min_length=1, max_length=5), Lax]
SEVERITIES: tuple[int, ...] = (1, 2, 3, 4, 5)
Row = Annotated[tuple[Percent, ...], Field(min_length=1, max_length=5), Lax]  # per cent at each severity

# Of files from before attacks told their own titles; all are in the L-infinity ball, the weakest first.
FORMER_TITLES = {"fgsm": "FGSM", "pgd": "PGD", "autoattack": "AutoAttack"}


class Accuracy(Record):
    """In per cent through every branch. `attacks`: by name; `AdvA`: of the main one, on `attacked_images` where those
    are fewer; `corruptions`: by branch and name, at each of `severities`; `NPA`: the mean over the whole benchmark;
    `mCE`, `relative_mCE`: against a baseline.
    """

    images: Positive
    CA: Annotated[ByBranch, Field(min_length=1)]
    NPA: ByBranch | None = None
    AdvA: ByBranch | None = None
    attacked_images: Positive | None = None
    attacks: dict[Name, ByBranch] | None = None
    severities: Severities | None = None
    corruptions: dict[Branch, Annotated[dict[Name, Row], Field(min_length=1)]] | None = None
    mCE: dict[Branch, Number] | None = None
    relative_mCE: dict[Branch, Number] | None = None

    @property
    def at_severities(self) -> tuple[int, ...]:
        return self.severities or SEVERITIES

    def of(self, metric: str) -> dict[str, float]:
        """'CA', 'NPA', 'AdvA', 'mCE' or 'relative_mCE' by branch; empty where it was not measured."""
        return getattr(self, metric) or {}

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        tables = (self.NPA, self.AdvA, self.corruptions, self.mCE, self.relative_mCE, *(self.attacks or {}).values())
        if odd := {branch for table in tables for branch in table or {}} - self.CA.keys():
            raise ValueError(f"should have CA of branch {min(odd)}, which it has other figures of")
        columns, rows = len(self.at_severities), list((self.corruptions or {}).values())
        if any(len(row) != columns for table in rows for row in table.values()):
            raise ValueError(f"should have {columns} severities in every row of its corruptions")
        if any(table.keys() != rows[0].keys() for table in rows):
            raise ValueError("should have the same corruptions for every branch")
        return self


class AttackRecord(Record):
    """An attack and its numbers, as they were settled; `eps` in units of the pixel range, in the ball of `norm`."""

    name: Name
    title: Text | None = None
    norm: Text = "Linf"
    eps: Annotated[float, Field(ge=0, le=1000)]
    step_size: Annotated[float, Field(ge=0, le=1000)] | None = None
    steps: Count = 0
    restarts: Count = 1

    @property
    def called(self) -> str:
        return self.title or FORMER_TITLES.get(self.name, self.name)


class Origin(Record):
    """Where corrupted images come from; `frost`: photographs or procedural, None where nobody says."""

    origin: Literal["published", "generated", "generated on the fly"]
    folder: Text | None = None
    seed: Count | None = None
    frost: Text | None = None

    @property
    def procedural_frost(self) -> bool:
        return self.frost == "procedural"


class Layer(Record):
    """A ReLU site, of `shape` (C, H, W), or a layer's weights."""

    layer: Text
    shape: Annotated[tuple[Positive, ...], Field(max_length=8), Lax]
    total: Positive
    kept: Count


class Kept(Record):
    """How many ReLUs, or weights, a network has, and keeps."""

    kept: Count
    total: Positive
    layers: Annotated[tuple[Layer, ...], Lax] = ()

    @property
    def share(self) -> float:
        """In per cent."""
        return 100 * self.kept / self.total
