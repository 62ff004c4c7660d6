"""Edits of a file, by its kind: every field removed and replaced, bytes changed, and what is no file in its place."""

from __future__ import annotations

import ast
import copy
import json
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from helper.checkpoint import read_file
from helper.files import Kind, load_arrays, parse_json, read_bytes, read_json, read_text, read_yaml

Edit = tuple[str, Callable[[Path], object]]  # what it is called, and what makes a file of it

# Of tables of tensors only the first few entries are edited, and of lists.
TENSORS, SHOWN = {"state_dict", "state", "network", "alphas", "sums", "kept", "gradients"}, 2
WAYS: dict[str, Any] = {
    **{"none": None, "text": "x", "empty": "", "minus": -1, "zero": 0, "huge": 10**6, "big": 10**400, "true": True},
    **{"nan": float("nan"), "inf": float("inf"), "list": [5], "nothing": [], "table": {}, "nested": [[[[]]]]},
    **{"half": "\ud800", "up": "../x"},
}
BILLION = "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(9))
TEXTS = {"aliases": BILLION, "1e999": "label: 1e999", "half": r'label: "\ud800"', "deep": "[" * 10_000, "empty": ""}
SHAPES = ["()", "(-1,)", f"({2**62}, 4)", "(None,)", "('x',)", "(" * 150 + ")" * 150, f"({'-' * 9000}3,)", "3", "1e999"]
TYPES = ["'|O'", "'<U9999999999'", "'<f8'", "'<c16'", "[('a', '<f8')]", "5", "None", "'<M8[ns]'", "('<f4', (9,))"]


def edits(path: Path) -> Iterator[Edit]:
    """All edits of the file at `path`."""
    yield from {
        ".pth": torch_edits,
        ".json": json_edits,
        ".jsonl": line_edits,
        ".yaml": yaml_edits,
        ".npy": array_edits,
        ".npz": program_edits,
    }[path.suffix](path)
    yield from byte_edits(read_bytes(path, Kind.ANY))
    yield from odd_files()


def torch_edits(path: Path) -> Iterator[Edit]:
    for label, content in edited(read_file(path), {**WAYS, "tensor": torch.zeros(3)}):
        yield label, partial(torch.save, content)


def json_edits(path: Path) -> Iterator[Edit]:
    for label, content in edited(read_json(path), WAYS):
        yield label, partial(write_text, partial(json.dumps, content), ())


def line_edits(path: Path) -> Iterator[Edit]:
    first, *others = read_text(path).splitlines()
    for label, content in edited(parse_json(first), WAYS):
        yield label, partial(write_text, partial(json.dumps, content), others)


def yaml_edits(path: Path) -> Iterator[Edit]:
    for label, content in edited(read_yaml(path), WAYS):
        yield label, partial(write_yaml, content)
    for label, text in TEXTS.items():
        yield label, partial(Path.write_text, data=text)


def write_text(first: Callable[[], str], others: Sequence[str], file: Path) -> None:
    file.write_text("\n".join([first(), *others, ""]))


def write_yaml(content: object, file: Path) -> None:
    file.write_text(yaml.safe_dump(content))


def array_edits(path: Path) -> Iterator[Edit]:
    """Other headers before the same bytes."""
    content = read_bytes(path, Kind.ANY)
    start = 10 + int.from_bytes(content[8:10], "little")
    plain = {key: repr(value) for key, value in ast.literal_eval(content[10:start].decode()).items()}
    changes = [("shape", text) for text in SHAPES] + [("descr", text) for text in TYPES]
    changes += [(key, text) for key in plain for text in ("'x'", "None", "-1", "[]", "{}")]
    for key, value in changes:
        text = "{" + ", ".join(f"'{key}': {value}" for key, value in {**plain, key: value}.items()) + "}\n"
        made = content[:8] + len(text).to_bytes(2, "little") + text.encode() + content[start:]
        yield f"{key} {value[:20]}", partial(Path.write_bytes, data=made)
    yield "an archive", partial(write_arrays, {"a": np.zeros(3)})


def program_edits(path: Path) -> Iterator[Edit]:
    """Of a program its description; of other arrays only what bytes do."""
    arrays = load_arrays(path)
    described = parse_json(str(arrays.pop("program", "{}")))
    for label, content in edited(described, WAYS):
        yield label, partial(write_arrays, {**arrays, "program": np.array(json.dumps(content))})
    for name in list(arrays)[:SHOWN]:
        for other in (np.zeros(3), np.zeros(arrays[name].shape, "f8"), np.array("x"), np.full_like(arrays[name], 1)):
            yield f"{name} {other.dtype}", partial(write_arrays, {**arrays, name: other})


def write_arrays(arrays: dict[str, np.ndarray], file: Path) -> None:
    with file.open("wb") as opened:
        np.savez(opened, **arrays)  # type: ignore[arg-type]  # its stubs take the names for options


def byte_edits(content: bytes) -> Iterator[Edit]:
    size = len(content)
    for place in (0, 1, size // 3, size // 2, size - 1):
        flipped = content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :]
        yield f"cut at {place}", partial(Path.write_bytes, data=content[:place])
        yield f"flipped at {place}", partial(Path.write_bytes, data=flipped)


def odd_files() -> Iterator[Edit]:
    yield "a pipe", os.mkfifo
    yield "a folder", Path.mkdir
    yield "nothing", str
    yield "a link to nothing", partial(Path.symlink_to, target="nowhere")
    yield "a link to itself", lambda file: file.symlink_to(file.name)
    yield "a device without an end", partial(Path.symlink_to, target="/dev/zero")
    yield "a device", partial(Path.symlink_to, target="/dev/null")


def edited(content: Any, ways: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """(what, content with one value removed, or another in its place); they share the tensors."""
    for place in places(content):
        named = ".".join(map(str, place))
        yield f"{named} removed", with_change(content, place)
        for name, value in ways.items():
            yield f"{named} {name}", with_change(content, place, value)


def places(content: object, before: tuple = ()) -> Iterator[tuple]:
    """Where every value lies, from the outside in."""
    if before:
        yield before
    items: list[tuple[Any, object]] = []
    if isinstance(content, dict):
        items = list(content.items())[: SHOWN if before and before[-1] in TENSORS else None]
    elif isinstance(content, list | tuple):
        items = list(enumerate(content))[:SHOWN]
    for key, value in items:
        yield from places(value, (*before, key))


def with_change(content: Any, place: tuple, *value: Any) -> Any:
    """A copy with `value` at `place`, or nothing."""
    key, *rest = place
    content = list(content) if isinstance(content, tuple) else copy.copy(content)
    if rest:
        content[key] = with_change(content[key], tuple(rest), *value)
    elif value:
        content[key] = value[0]
    else:
        del content[key]
    return content
