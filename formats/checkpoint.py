"""A checkpoint, a file of torch.save: a network and what is known of it. `RunState`: what a training run goes on from.

Nothing here needs torch; tensors are recognised by what they are like.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator

from formats.measured import Accuracy
from formats.record import (
    Amount,
    Count,
    Counts,
    Digest,
    Document,
    Lax,
    Name,
    Number,
    Options,
    Percent,
    Record,
    Share,
    Text,
)

FORMAT, VERSION = "rlnet-checkpoint", 1
MOST_BRANCHES = 3


def tensor(value: Any) -> Any:
    if not (hasattr(value, "is_floating_point") and hasattr(value, "shape")):
        raise ValueError("should be a tensor")
    return value


def scalar(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if tensor(value).numel() != 1:
        raise ValueError("should be one number")
    return value


Tensor = Annotated[Any, AfterValidator(tensor)]
Tensors = dict[Text, Tensor]
Scalar = Annotated[Any, AfterValidator(scalar)]
Branches = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=MOST_BRANCHES)], ...], Field(min_length=1, max_length=MOST_BRANCHES), Lax
]
Channels = Annotated[tuple[Number, ...], Field(min_length=3, max_length=3), Lax]
Deviations = Annotated[tuple[Annotated[float, Field(gt=0, le=1e6)], ...], Field(min_length=3, max_length=3), Lax]


class ModelRecord(Record):
    """What rebuilds a network: the name and the arguments of models.build_model."""

    # An argument that nobody knows would change what the network computes.
    model_config = ConfigDict(extra="forbid")

    name: Name
    num_classes: Annotated[int, Field(ge=1, le=10**6)]
    image_size: Annotated[int, Field(ge=1, le=4096)]
    branches: Annotated[int, Field(ge=1, le=MOST_BRANCHES)] = 1
    mean: Channels = (0.0, 0.0, 0.0)
    std: Deviations = (1.0, 1.0, 1.0)


class KeptData(Record):
    """What a checkpoint keeps of images of one's own: `path` is where their folder was."""

    path: Text
    classes: Annotated[tuple[Name, ...], Field(min_length=2), Lax]
    image_size: Annotated[int, Field(ge=1, le=4096)]
    any_size: bool
    mean: Channels
    std: Deviations


class StudentBudget(Record):
    """ReLUs that a student keeps, per layer, and what names call that many."""

    label: Name
    layers: Counts


class Code(Record):
    """Where a network of one's own comes from (models/own.py)."""

    file: Name
    function: Text
    sha256: Digest


class Interpolation(Record):
    """How a one-branch network came from one of several: that of `source`, `t` of the way from the first of `branches`
    to the last; `weight` is what AdvA counted where t was searched for, `statistics` says where batch-norm has its own.
    """

    t: Share
    source: Text | None = None
    sha256: Digest | None = None
    branches: Counts = ()
    weight: Share | None = None
    statistics: Text | None = None


class Description(Document):
    """What is known of a network; of other people's, which `load_teacher` reads, its model alone.

    `stage`: 0 a teacher, 1 and 2 a student; `args`: the options of its training; `metrics`: what its epoch was chosen
    for; `averaged`: whether its weights are averages over steps (--ema); `density`: of sparse weights;
    `origin`: the layout of another's file.
    """

    kind: ClassVar[str] = "a checkpoint"
    remedy: ClassVar[str] = "take another copy of the file"

    model: ModelRecord
    dataset: Name | None = None
    code: Code | None = None
    stage: Literal[0, 1, 2] | None = None
    data_set: KeptData | None = None
    teacher: Name | None = None
    budget: StudentBudget | None = None
    tag: Name | None = None
    args: Options = Field(default_factory=dict)
    epoch: Count | None = None
    trained_branches: Branches = (0,)
    metrics: Accuracy | None = None
    averaged: bool | None = None
    density: Share | None = None
    interpolation: Interpolation | None = None
    origin: Text | None = None

    def trained_with(self, option: str) -> str | None:
        """An option of its training as a text, which the command line parses as it does a given one; None: unknown."""
        value = self.args.get(option)
        return None if value is None else str(value)

    @model_validator(mode="after")
    def has_its_branches(self) -> Self:
        if max(self.trained_branches) >= self.model.branches:
            raise ValueError(f"should name branches below model.branches, {self.model.branches}, in trained_branches")
        return self


class Checkpoint(Description):
    """A network, its weights and masks with bare keys, and what is known of it."""

    format: Literal["rlnet-checkpoint"]
    version: Literal[1]
    state_dict: Tensors


class Best(Record):
    """The accuracy that an epoch was chosen for."""

    value: Percent
    epoch: Count


class Withstood(Record):
    """An epoch as catastrophic overfitting is recognised by it; nothing before there was one."""

    AdvA: Percent | None = None
    accuracy_adv: Number | None = None


class ProgressRecord(Record):
    """Where a run stands (training/progress.py). `best`: by the suffix of the file's name."""

    epoch: Count
    step: Count
    best: dict[Annotated[str, StringConstraints(max_length=50, pattern=r"^[A-Za-z0-9_.]*$")], Best]
    masks_frozen: bool
    withstood: Withstood = Withstood()
    overfitted: Count = 0
    seconds: Amount
    calm_epochs: Count | None = None  # of runs from before searches kept their own time


class Group(Record):
    """Settings of an optimizer; all but the rate are those of the options."""

    lr: Scalar


class OptimizerRecord(Record):
    """What an optimizer tells of itself; buffers by the number of their parameter.

    Of sparse momentum: `kept`, where weights are not 0, and `gradients`, averages of theirs, by the weights' names.
    """

    state: dict[Annotated[int, Field(ge=0)], Tensors]
    param_groups: Annotated[tuple[Group, ...], Field(min_length=1), Lax]
    kept: Tensors | None = None
    gradients: Tensors | None = None


class AverageRecord(Record):
    """The average of the weights over `updates` steps."""

    updates: Count
    network: Tensors


class SearchRecord(Record):
    """Where a mask search stands; each has more of its own, see its file in masks/."""

    epoch: Count
    calm_epochs: Count


class PruningState(Checkpoint):
    """pruning_last.pth: what compute_sensitivity.py --method prune goes on from, with `settings` as they were."""

    epoch: Count
    settings: Text
    optimizer: OptimizerRecord


class RunState(Checkpoint):
    """*_last.pth: a checkpoint and all that its run goes on from.

    `meter`: sums over the steps of an epoch, with their counts; `search`: the mask search's own, see its file;
    `inputs`: SHA-256 of the checkpoints that the run began with, by their options.
    """

    epoch: Count
    progress: ProgressRecord
    optimizer: OptimizerRecord
    meter: Tensors
    search: dict[Text, Any] | None = None  # what the search's own record takes
    average: AverageRecord | None = None
    inputs: dict[Name, Digest] = Field(default_factory=dict)

    @model_validator(mode="after")
    def stands_at_its_epoch(self) -> Self:
        if self.progress.epoch != self.epoch:
            raise ValueError(f"should stand at one epoch, not {self.epoch} and, in progress, {self.progress.epoch}")
        return self
