"""Programs as .npz files: arrays, and a description of the steps in JSON. No pickles, so reading one runs no code.

`numpy.load(path, allow_pickle=False)` reads it. The key 'program' holds a JSON text (a 0-d array of unicode):

    format, version   'rlnet-program', 1
    about             what the network was: model, image_size, num_classes, branch, ...
    input             {'name': 'images', 'shape': [C, H, W]}; pixels in [0, 1], the normalisation is part of the program
    output            the name of the value that is the logits
    steps             in order, each {'kind', 'inputs', 'output', 'shape', 'layer', 'settings', 'arrays'}: names of the
                      values it reads and makes, the shape of what it makes for one image, and for every array, such as
                      'weight', the key in this file under which it lies. The kinds are those of
                      private_inference/program.py
    decisions         which layers were folded or fused, and why (not)

Arrays are float32, masks bool.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np

from helper.errors import UserError
from private_inference.program import INPUT, KINDS, Decision, Program, Step, pair, shapes

FORMAT = "rlnet-program"
VERSION = 1


def write_program(file: BinaryIO, program: Program, about: Mapping[str, object]) -> None:
    """Write `program` and what is known `about` it, plain JSON values, to an open file."""
    known, arrays, steps = shapes(program), {}, []
    for number, step in enumerate(program.steps):
        keys = {name: f"{number:03d}.{name}" for name in step.arrays}
        arrays.update({keys[name]: array for name, array in step.arrays.items()})
        described = {"kind": step.kind, "inputs": step.inputs, "output": step.output, "shape": known[step.output]}
        steps.append({**described, "layer": step.layer, "settings": dict(step.settings), "arrays": keys})
    description = {
        "format": FORMAT,
        "version": VERSION,
        "about": dict(about),
        "input": {"name": INPUT, "shape": program.input_shape},
        "output": program.output,
        "steps": steps,
        "decisions": [asdict(decision) for decision in program.decisions],
    }
    np.savez(file, allow_pickle=False, program=np.array(json.dumps(description)), **arrays)


def load_program(path: str | Path | BinaryIO) -> tuple[Program, dict]:
    """(program, what is known about it) of a file of `write_program`.

    Raises UserError for a file that is missing, damaged, foreign or too new, and for steps that do not go together.
    """
    if isinstance(path, str | Path) and not Path(path).is_file():
        raise UserError(f"{path}: no such program file")
    name = path if isinstance(path, str | Path) else "the program"
    try:
        with np.load(path, allow_pickle=False) as content:
            description = json.loads(str(content["program"]))
            if description["format"] != FORMAT:
                raise UserError(f"{name}: no program of this project")
            if description["version"] != VERSION:
                raise UserError(f"{name}: program version {description['version']}, this code reads {VERSION}")
            steps = tuple(_read_step(step, content) for step in description["steps"])
        decisions = [Decision(**{**item, "layers": tuple(item["layers"])}) for item in description["decisions"]]
        program = Program(tuple(description["input"]["shape"]), steps, tuple(decisions))
        shapes(program)
        if program.output != description["output"]:
            raise ValueError(f"the last step makes '{program.output}', not '{description['output']}'")
    except (ValueError, LookupError, TypeError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{name}: not a program file, or a damaged one ({error})") from error
    return program, description["about"]


def _read_step(described: dict, content: Mapping[str, np.ndarray]) -> Step:
    inputs, needed, optional, settings = KINDS[described["kind"]]
    arrays = {name: content[key] for name, key in described["arrays"].items()}
    if len(described["inputs"]) != inputs or not needed <= set(arrays) <= needed | optional:
        raise ValueError(f"step {described['layer']} does not have what a {described['kind']} has")
    for name, array in arrays.items():
        if array.dtype != (np.bool_ if name == "mask" else np.float32):
            raise ValueError(f"{name} of {described['layer']} is {array.dtype}")
    found = {
        name: int(described["settings"][name]) if name == "groups" else pair(described["settings"][name])
        for name in settings
    }
    return Step(described["kind"], tuple(described["inputs"]), described["output"], described["layer"], arrays, found)
