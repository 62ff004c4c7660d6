"""Programs as .npz files: arrays, and a description of the steps in JSON. No pickles, so reading one runs no code.

`numpy.load(path, allow_pickle=False)` reads it. The key 'program' holds a JSON text (a 0-d array of unicode):

    format, version   'rlnet-program', 1
    about             what the network was: model, image_size, num_classes, branch, ...
    input             {'name': 'images', 'shape': [C, H, W]}; pixels in [0, 1], the normalisation is part of the program
    output            the name of the value that is the logits
    steps             in order, each {'kind', 'inputs', 'output', 'shape', 'layer', 'settings', 'arrays'}: names of the
                      values it reads and makes, the shape of what it makes for one image, and for every array, such as
                      'weight', the key in this file under which it lies. The kinds are those of
                      private_inference/program/steps.py
    decisions         which layers were folded or fused, and why (not)

Arrays are float32, masks bool.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from formats.program import FORMAT, VERSION, ProgramRecord, StepRecord
from helper.errors import UserError, checked, damaged
from helper.files import load_arrays, parse_json, unpack_arrays
from private_inference.program.steps import COMPARING, INPUT, KINDS, Decision, Program, Settings, Step, pair, shapes


def write_program(file: BinaryIO, program: Program, about: Mapping[str, object], *, compressed: bool = False) -> None:
    """Write `program` and what is known `about` it, plain JSON values, to an open file."""
    arrays: dict[str, Any] = {
        _key(number, name): array for number, step in enumerate(program.steps) for name, array in step.arrays.items()
    }
    save = np.savez_compressed if compressed else np.savez
    save(file, program=np.array(json.dumps(describe(program, about))), **arrays)


def _key(number: int, name: str) -> str:
    return f"{number:03d}.{name}"


def describe(program: Program, about: Mapping[str, object]) -> dict:
    """Everything but the arrays themselves, plain JSON values."""
    known = shapes(program)
    steps = [
        {
            "kind": step.kind,
            "inputs": step.inputs,
            "output": step.output,
            "shape": known[step.output],
            "layer": step.layer,
            "settings": dict(step.settings),
            "arrays": {name: _key(number, name) for name in step.arrays},
        }
        for number, step in enumerate(program.steps)
    ]
    return {
        "format": FORMAT,
        "version": VERSION,
        "about": dict(about),
        "input": {"name": INPUT, "shape": program.input_shape},
        "output": program.output,
        "steps": steps,
        "decisions": [asdict(decision) for decision in program.decisions],
    }


def load_program(path: str | Path | BinaryIO) -> tuple[Program, dict]:
    """(program, what is known about it) of a file of `write_program`.

    Raises UserError for a file that is missing, damaged, foreign or too new, and for steps that do not go together.
    """
    name = path if isinstance(path, str | Path) else "the program"
    try:
        content = load_arrays(path) if isinstance(path, str | Path) else unpack_arrays(path)
        described = parse_json(str(content["program"]))
        if isinstance(described, dict) and described.get("format") == FORMAT and described.get("version") != VERSION:
            raise UserError(f"{name}: program version {described.get('version')}, this code reads {VERSION}")
        record = checked(ProgramRecord, described, name)
        steps = tuple(_read_step(step, content) for step in record.steps)
        program = Program(record.input.shape, steps, tuple(Decision(**dict(each)) for each in record.decisions))
        shapes(program)
        if program.output != record.output:
            raise ValueError(f"the last step makes '{program.output}', not '{record.output}'")
    except (ValueError, LookupError) as error:
        raise damaged(name, ProgramRecord.kind, error, ProgramRecord.remedy) from error
    return program, record.about


def _read_step(record: StepRecord, content: Mapping[str, np.ndarray]) -> Step:
    """Raises ValueError where a step has not what its kind has, or an array that the file lacks."""
    inputs, needed, optional, settings = KINDS[record.kind]
    if missing := sorted(set(record.arrays.values()) - content.keys()):
        raise ValueError(f"it lacks the array {missing[0]} of {record.layer}")
    arrays = {name: content[key] for name, key in record.arrays.items()}
    if len(record.inputs) != inputs or not needed <= set(arrays) <= needed | optional:
        raise ValueError(f"step {record.layer} does not have what a {record.kind} has")
    for name, array in arrays.items():
        if array.dtype != (np.bool_ if name == "mask" else np.float32):
            raise ValueError(f"{name} of {record.layer} is {array.dtype}")
    given = record.settings
    if missing := sorted(settings - given.keys()):
        raise ValueError(f"{record.layer} lacks {missing[0]}")
    found = cast(Settings, {name: _setting(name, given[name]) for name in settings})
    if record.kind in COMPARING and "bits" in given:
        found["bits"] = _setting("bits", given["bits"])  # type: ignore[typeddict-item]
        if found["bits"] not in (32, 64):
            raise ValueError(f"{record.layer} compares in {found['bits']} bits")
    return Step(record.kind, record.inputs, record.output, record.layer, arrays, found)


def _setting(name: str, value: int | tuple[int, int]) -> int | tuple[int, int]:
    """One number, or one for each side; raises ValueError for what would be none, or a stride of 0."""
    if name in ("groups", "bits"):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} is {value}")
        return value
    if min(pair(value)) < (name != "padding"):
        raise ValueError(f"{name} is {value}")
    return pair(value)
