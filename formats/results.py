"""results.json: what every script reports of a network, one schema for all; and what a checkpoint is worth in it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from formats.checkpoint import Branches
from formats.measured import FORMER_TITLES, Accuracy, AttackRecord, Kept, Origin
from formats.record import (
    Amount,
    Count,
    Digest,
    Document,
    Lax,
    Name,
    Options,
    Percent,
    Positive,
    Record,
    Sentences,
    Text,
)

SCHEMA: Final = "rlnet-results-2"


class Oracle(Record):
    """In per cent, through the branch that the published protocol picks for each metric."""

    CA: Percent | None = None
    NPA: Percent | None = None
    AdvA: Percent | None = None


class SingleBranch(Oracle):
    """In per cent, through one branch for all images."""

    branch: Annotated[int, Field(ge=0, le=99)]


class Selected(Record):
    """Selected weights: file and epoch, the accuracy they were chosen for, and what they are worth on test images."""

    file: Text
    value: Percent | None = None
    epoch: Count
    accuracy: Accuracy
    weights: Kept | None = None


class TrainingStage(Record):
    """One of the trainings that led to a network: the file that it gave, its epoch and options, and its hours."""

    stage: Literal[0, 1, 2] | None = None
    file: Text | None = None
    epoch: Count | None = None
    options: Options
    hours: Amount | None = None


class Results(Document):
    """What a script found. `attack`: that behind AdvA; `attack_titles`: of all that were run, the weakest first.

    Of training: `checkpoints`, `select_on` and `epochs`; `training`: the stages
    that led to the network, the last one first; of an evaluation: `checkpoint`, `checkpoint_sha256`,
    `measured_on` and `corrupted_images`. `weights`: where they are sparse.
    """

    kind: ClassVar[str] = "a results.json"
    remedy: ClassVar[str] = "run the script that wrote it again"

    schema_: Literal["rlnet-results-2"] = Field(alias="schema")
    script: Text
    model: Name
    dataset: Name
    image_size: Positive
    branches: Annotated[int, Field(ge=1, le=99)]
    trained_branches: Branches | None = None
    attack: AttackRecord | None = None
    attack_titles: dict[Name, Text]
    accuracy: Accuracy
    oracle: Oracle
    single_branch: SingleBranch
    single_branch_rule: Text | None = None
    training: Annotated[tuple[TrainingStage, ...], Lax] | None = None
    corrupted_images: Origin | None = None
    relus: Kept
    weights: Kept | None = None
    warnings: Sentences = ()
    seed: Count | None = None
    processes: Count | None = None
    device: Text | None = None
    versions: dict[Text, Text] = Field(default_factory=dict)
    wall_time_s: Amount | None = None
    args: Options = Field(default_factory=dict)
    checkpoints: Annotated[tuple[Selected, ...], Lax] | None = None
    select_on: Text | None = None
    epochs: Count | None = None
    checkpoint: Text | None = None
    checkpoint_sha256: Digest | None = None
    measured_on: Text | None = None

    @model_validator(mode="before")
    @classmethod
    def of_any_version(cls, found: Any) -> Any:
        """Attacks of earlier files have neither titles nor a norm."""
        if not isinstance(found, dict):
            return found
        accuracy, attack = found.get("accuracy"), found.get("attack")
        if isinstance(attack, dict) and isinstance(attack.get("name"), str):
            attack = {"title": FORMER_TITLES.get(attack["name"], attack["name"]), "norm": "Linf"} | attack
            found = found | {"attack": attack}
        if found.get("attack_titles") is not None:
            return found
        run = accuracy.get("attacks") if isinstance(accuracy, dict) else None
        names = list(run) if isinstance(run, dict) else []
        names += [attack["name"]] if isinstance(attack, dict) and isinstance(attack.get("name"), str) else []
        known = [name for name in FORMER_TITLES if name in names]
        ordered = (*known, *sorted({*names} - {*known}))
        return found | {"attack_titles": {name: FORMER_TITLES.get(name, name) for name in ordered}}

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        if str(self.single_branch.branch) not in self.accuracy.CA:
            raise ValueError(f"should have CA of its single_branch, {self.single_branch.branch}")
        return self
