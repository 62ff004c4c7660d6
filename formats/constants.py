"""constants.yaml: what private inference was measured to cost, by protocol."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import model_validator

from formats.record import Amount, Document, Positive, Record, Text

Constants = dict[Text, dict[Text, dict[Text, Amount]]]  # group of steps -> part of a cost -> what it grows with
SET_UP = "set_up"  # the group of what is set up once: way of doing it -> part of a cost
COST = {"upload", "download", "rounds", "seconds"}  # private_inference/engine/cost.py


class Machine(Record):
    """Where something was measured."""

    processor: Text
    cores: Positive | None
    system: Text


class KnownConstants(Document):
    """Of one image: a step's cost is a sum of constants times what they grow with. Under `set_up` lie costs themselves,
    of what is set up once.
    """

    kind: ClassVar[str] = "a file of constants of private inference"
    remedy: ClassVar[str] = "benchmarks/fit_private_inference.py writes them"

    machine: Machine
    protocols: dict[Text, Constants]

    @model_validator(mode="after")
    def names_parts_of_costs(self) -> Self:
        for protocol, groups in self.protocols.items():
            for group, table in groups.items():
                named = {part for of in table.values() for part in of} if group == SET_UP else set(table)
                if odd := named - COST:
                    where = f"protocols.{protocol}.{group}"
                    raise ValueError(f"should name {', '.join(sorted(COST))} in {where}, not {min(odd)}")
        return self
