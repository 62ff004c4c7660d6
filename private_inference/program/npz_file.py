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

from helper.errors import UserError
from helper.files import load_arrays, parse_json, unpack_arrays
from private_inference.program.steps import COMPARING, INPUT, KINDS, Decision, Program, Settings, Step, pair, shapes

FORMAT = "rlnet-program"
VERSION = 1


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
        description = parse_json(str(content["program"]))
        if description["format"] != FORMAT:
            raise UserError(f"{name}: no program of this project")
        if description["version"] != VERSION:
            raise UserError(f"{name}: program version {description['version']}, this code reads {VERSION}")
        steps = tuple(_read_step(step, content) for step in description["steps"])
        decisions = [Decision(**{**item, "layers": tuple(item["layers"])}) for item in description["decisions"]]
        shape = tuple(int(size) for size in description["input"]["shape"])
        program = Program(shape, steps, tuple(decisions))
        shapes(program)
        if program.output != description["output"]:
            raise ValueError(f"the last step makes '{program.output}', not '{description['output']}'")
        about = dict(description["about"])
    except UserError:
        raise
    except Exception as error:  # whatever a description lacks or has of another type
        kind = type(error).__name__
        raise UserError(f"{name}: not a program file, or a damaged one ({kind}: {error})") from error
    return program, about


def _read_step(described: dict, content: Mapping[str, np.ndarray]) -> Step:
    inputs, needed, optional, settings = KINDS[described["kind"]]
    arrays = {name: content[key] for name, key in described["arrays"].items()}
    if len(described["inputs"]) != inputs or not needed <= set(arrays) <= needed | optional:
        raise ValueError(f"step {described['layer']} does not have what a {described['kind']} has")
    for name, array in arrays.items():
        if array.dtype != (np.bool_ if name == "mask" else np.float32):
            raise ValueError(f"{name} of {described['layer']} is {array.dtype}")
    given = described["settings"]
    plain = {name: int(given[name]) if name == "groups" else pair(given[name]) for name in settings}
    found = cast(Settings, plain)
    if described["kind"] in COMPARING and "bits" in given:
        found["bits"] = int(given["bits"])
        if found["bits"] not in (32, 64):
            raise ValueError(f"{described['layer']} compares in {found['bits']} bits")
    return Step(described["kind"], tuple(described["inputs"]), described["output"], described["layer"], arrays, found)
