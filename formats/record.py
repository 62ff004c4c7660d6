"""What the models of all files have in common: strict types, limits, and one line for what is wrong.

A number that is too large, or none, a name that leads out of its folder, a text that no file system takes: all of them
end here, so that nobody behind the border asks again. A field of a later version is kept as it is.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, Strict, StringConstraints, ValidationError

MOST = 10**15  # of anything that is counted: sums and products of such numbers are floats still


def name(text: str) -> str:
    if text in (".", ".."):
        raise ValueError("should be the name of a file")
    return text


def plain(value: object) -> object:
    for item in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(item, str | int | float | bool | None) or (isinstance(item, float) and not isfinite(item)):
            raise ValueError("should be a text, a number, true, false, null or a list of these")
        if isinstance(item, str):
            writable(item)
    return value


def writable(text: str) -> None:
    """Half a character can be read, and never be written again."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError("should hold whole characters") from error


def finite(value: object) -> object:
    """Nor half characters. Not recursively: nothing limits how deep it is."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float) and not isfinite(item):
            raise ValueError("should hold finite numbers")
        if isinstance(item, str):
            writable(item)
        waiting += item.values() if isinstance(item, dict) else item if isinstance(item, list | tuple) else ()
    return value


Count = Annotated[int, Field(ge=0, le=MOST)]
Positive = Annotated[int, Field(ge=1, le=MOST)]
Share = Annotated[float, Field(ge=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]
Amount = Annotated[float, Field(ge=0, le=MOST)]  # of seconds, bytes, rounds
Number = Annotated[float, Field(ge=-MOST, le=MOST)]
Text = Annotated[str, StringConstraints(max_length=100_000, pattern=r"^[^\x00]*$")]
# Part of a file's name.
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^/\x00-\x1f]+$"), AfterValidator(name)
]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]  # SHA-256

# YAML and torch.save know lists where a tuple is meant.
Lax = Strict(False)
Numbers = Annotated[tuple[Number, ...], Lax]
Counts = Annotated[tuple[Count, ...], Lax]
Sentences = Annotated[tuple[Text, ...], Lax]

Plain = Annotated[Any, AfterValidator(plain)]
Finite = Annotated[Any, AfterValidator(finite)]  # values of any kind, without NaN and infinity
Options = dict[Text, Plain]  # of a script, by name


class Record(BaseModel):
    """A part of a file."""

    __pydantic_extra__: dict[str, Finite] = Field(init=False)

    model_config = ConfigDict(
        strict=True, frozen=True, extra="allow", allow_inf_nan=False, protected_namespaces=(), validate_by_name=True
    )

    def as_json(self) -> dict[str, Any]:
        """What a JSON file holds of it: the fields that were given."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class Document(Record):
    """A whole file. `kind`: what it is called; `remedy`: what to do where it is none, or a damaged one."""

    kind: ClassVar[str]
    remedy: ClassVar[str]


Content = TypeVar("Content")


class Table(RootModel[Content]):
    """A whole file that is one list, or one table with keys of its own: `root`."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    kind: ClassVar[str]
    remedy: ClassVar[str]

    def as_json(self) -> Any:
        return self.model_dump(mode="json", exclude_unset=True)


def what_is_wrong(error: ValidationError) -> str:
    """In one line, where it is, what was found and what is wanted; of several faults the first."""
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(step) for step in fault["loc"])[:200]
    wanted = fault["msg"].removeprefix("Value error, ").replace("Input should", "should")
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if fault["type"] == "json_invalid":
        return f"no JSON ({wanted.removeprefix('Invalid JSON: ')})"
    if fault["type"] == "missing":
        return f"it lacks {where}{more}"
    if fault["type"] == "extra_forbidden":
        return f"nobody knows its field {where}{more}"
    return f"{where or 'it'} is {shown(fault['input'])}; it {wanted}{more}"


def shown(value: object) -> str:
    """A value in few words."""
    if isinstance(value, Mapping):
        return f"a table of {len(value)}"
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return f"a list of {len(value)}"
    if isinstance(value, str | int | float | bool | None):
        return reprlib.repr(value)
    return f"a {type(value).__name__}"
