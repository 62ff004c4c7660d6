"""reproduce/*.yaml: which networks reproduce.py trains, in which rounds, and how they are measured."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field

from formats.record import Document, Lax, Name, Options, Record, Share, Text

Seed = Annotated[int, Field(ge=0, lt=2**32)]
WholeNumber = Annotated[int, Field(ge=0, le=10**9)]
# What the estimate of time counts with.
COUNTED: tuple[str, ...] = ("batch_size", "epochs", "eval_steps", "limit_train_batches", "limit_val_batches")
COUNTED += ("restarts", "select_attack_images", "steps")


def counted(options: Options) -> Options:
    for name in COUNTED:
        value = options.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ValueError(f"should have a whole number as {name}")
    if not isinstance(options.get("attack_mode"), str | None):
        raise ValueError("should have a name as attack_mode")
    return options


Given = Annotated[Options, AfterValidator(counted)]


class RoundRecord(Record):
    """What differs in a round. `teacher_file`: a finished one; `budgets`: '25%' of the ReLUs, '50k' of them, or '12s'.

    The tables are options of all trainings, of each, and of what is measured; null takes back what holds for all
    rounds.
    """

    model_config = ConfigDict(extra="forbid")

    title: Text | None = None
    budgets: Annotated[tuple[WholeNumber | Text, ...], Lax] = ()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), Lax] = (0,)
    teacher_of: Text | None = None
    teacher_file: Text | None = None
    interpolate: Share | None = None
    checkpoint: Literal["TA", "ATA"] = "TA"
    training: Given | None = None
    teacher: Given | None = None
    stage1: Given | None = None
    stage2: Given | None = None
    one_branch: Given | None = None
    evaluation: Given | None = None
    corruptions: Given | None = None
    autoattack: Given | None = None
    private: Given | None = None


class Configuration(Document, RoundRecord):
    """What stands at the top holds for all rounds."""

    kind: ClassVar[str] = "a configuration of reproduce.py"
    remedy: ClassVar[str] = "those in reproduce/ are some"

    model: Name
    dataset: Text
    rounds: Annotated[dict[Name, RoundRecord | None], Field(min_length=1)]
