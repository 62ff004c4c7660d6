"""docs/files.md, what every kind of file holds; made from the models, and never written by hand.

python -m formats.page    # after a model has changed
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from formats.budgets import BudgetList, Profiles
from formats.checkpoint import Checkpoint, RunState
from formats.configuration import Configuration
from formats.constants import KnownConstants
from formats.log import Epoch
from formats.manifest import Manifest
from formats.measurements import MeasurementsRecord
from formats.parties import KnownPrograms, PartyResult
from formats.private_costs import Estimates, PrivateCosts
from formats.program import ProgramRecord
from formats.record import MOST
from formats.reproduction import DoneSteps
from formats.results import Results
from formats.zoo import ZooIndex

KINDS: dict[str, type[BaseModel]] = {
    "Checkpoint: *_best*.pth": Checkpoint,
    "State of a run: *_last.pth": RunState,
    "Results: results.json": Results,
    "Log: a line of log.jsonl": Epoch,
    "Manifest of corrupted images: manifest.json": Manifest,
    "Measurements: measurements.json": MeasurementsRecord,
    "Budget list: sensitivity/*.yaml, --sensitivity FILE": BudgetList,
    "Sensitivity profiles: sensitivity/profiles.yaml": Profiles,
    "Constants of private inference: constants.yaml": KnownConstants,
    "Costs of private inference: private_inference.json": PrivateCosts,
    "Estimated costs of private inference: estimate.json": Estimates,
    "Program: the text 'program' of a .npz file": ProgramRecord,
    "What a party of private inference finds: result.json": PartyResult,
    "Programs of servers: known_programs.json": KnownPrograms,
    "Configuration: reproduce/*.yaml, --config FILE": Configuration,
    "Steps of a reproduction: steps.json": DoneSteps,
    "Networks that come with the repository: zoo/index.json": ZooIndex,
}
HEAD = """# What files hold

Made from the models in formats/ by `python -m formats.page`. Every file is read, and written, by its model: a field
that is missing, of another type or out of range is an error of one line that names the file, the field, what it is and
what it should be. A field without a default must be there; one that no model names is kept as it is.
"""
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
WORDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "string": "text", "null": "null"}


def page() -> str:
    """The page as Markdown: a section a kind, and below it those of its parts that were not told yet."""
    told: set[str] = set()
    return "\n".join([HEAD, *(section for title, model in KINDS.items() for section in sections(title, model, told))])


def sections(title: str, model: type[BaseModel], told: set[str]) -> Iterator[str]:
    schema = model.model_json_schema(mode="serialization")
    parts = schema.get("$defs", {})
    yield f"## {title}\n\n{described(schema, inspect.getdoc(model) or '')}"
    for name, part in parts.items():
        if name not in told:
            told.add(name)
            yield f"### {name}\n\n{described(part, part.get('description', ''))}"


def described(schema: Mapping[str, Any], about: str) -> str:
    text = f"{about}\n" if about else ""
    if "properties" not in schema:
        return f"{text}\n{words(schema)[0].upper()}{words(schema)[1:]}.\n"
    needed = set(schema.get("required", ()))
    rows = ["| field | what | default |", "| --- | --- | --- |"]
    for name, field in schema["properties"].items():
        default = "" if name in needed else f"`{field['default']}`" if field.get("default") is not None else "-"
        rows.append(f"| `{name}` | {words(field)} | {default} |")
    return "\n".join([text, *rows]) + "\n"


def words(schema: Mapping[str, Any]) -> str:
    """The type and the bounds of a value."""
    if "$ref" in schema:
        return f"*{schema['$ref'].rpartition('/')[2]}*"
    if "anyOf" in schema:
        return " or ".join(words(each) for each in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    kind = schema.get("type", "")
    if kind == "array":
        items = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        count = f" of {schema['maxItems']}" if schema.get("maxItems") == schema.get("minItems") is not None else ""
        return f"list{count}: {words(items)}"
    if kind == "object":
        inner = next(iter(schema.get("patternProperties", {}).values()), schema.get("additionalProperties"))
        return f"table: {words(inner)}" if isinstance(inner, Mapping) and inner else "table"
    bounds = [text.format(f"{schema[key]:g}") for key, text in BOUNDS.items() if abs(schema.get(key, MOST)) < MOST]
    return f"{WORDS.get(kind, 'tensor or plain value')}{' ' if bounds else ''}{', '.join(bounds)}"


def page_path() -> Path:
    return Path(__file__).parent.parent / "docs" / "files.md"


if __name__ == "__main__":
    page_path().write_text(page(), encoding="utf-8")
