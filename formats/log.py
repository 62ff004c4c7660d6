"""log.jsonl: what every epoch of a training run measured, one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from formats.measured import ByBranch
from formats.record import Amount, Document, Number, Positive, Text

# Of a line in which every share is in per cent; earlier lines, which say no schema, have some as fractions.
LOG_SCHEMA = "rlnet-log-2"


def in_per_cent(record: Mapping[str, Any]) -> dict[str, Any]:
    """What an epoch measured, or an earlier line of a log, with its fractions as LOG_SCHEMA has them."""
    return {
        name: 100 * value
        if (name.startswith("accuracy_") or name == "mask_distance") and isinstance(value, int | float)
        else value
        for name, value in record.items()
    }


class Epoch(Document):
    """Means over the steps of `epoch`, which counts from 1, and what it was worth on the images for selection.

    `TA`, `ATA`: % clean and under attack by branch, with averaged weights where they end in `_ema`. Terms of the loss
    and accuracies in training are numbers under names of their own, such as `kl_adv` and `accuracy_clean`.
    """

    kind: ClassVar[str] = "an epoch's record"
    remedy: ClassVar[str] = "log.jsonl has one a line"

    __pydantic_extra__: dict[Text, Number] = Field(init=False)

    schema_: Literal["rlnet-log-2"] = Field(alias="schema")
    epoch: Positive
    loss: Number
    learning_rate: Amount
    images_per_second: Amount | None = None
    seconds: Amount | None = None
    TA: ByBranch | None = None
    ATA: ByBranch | None = None
    TA_ema: ByBranch | None = None
    ATA_ema: ByBranch | None = None
    mask_distance: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def of_any_version(cls, found: Any) -> Any:
        if isinstance(found, dict) and "schema" not in found and "schema_" not in found:
            return {"schema": LOG_SCHEMA, **in_per_cent(found)}
        return found

    @property
    def figures(self) -> dict[str, float]:
        """The terms of the loss and the accuracies in training, by name."""
        return self.model_extra or {}

    def tested(self, metric: str) -> dict[str, float]:
        """'TA', 'ATA', 'TA_ema' or 'ATA_ema' by branch; empty where it was not measured."""
        return getattr(self, metric) or {}
