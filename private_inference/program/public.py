"""What both parties may know of a program: its steps, shapes and masks, but no weights.

Plain numpy, for the parties run without PyTorch.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from formats.program import ServedNetwork
from helper.errors import checked
from private_inference.program.npz_file import describe, load_program, write_program
from private_inference.program.steps import INPUT, Program, Step


def is_public(step: Step, name: str) -> bool:
    """Whether this array of `step` is no secret: a ReLU mask, or minus the data set's mean colour.

    What the client subtracts from its images in the clear is the normalisation's; every other array is trained.
    """
    return name == "mask" or (step.kind == "shift" and step.inputs == (INPUT,) and step.arrays[name].size <= 3)


def secret_name(step: Step, name: str) -> str:
    """What an array of the server is called among the values of a program."""
    return f"{step.output}.{name}"


def secrets(program: Program) -> dict[str, np.ndarray]:
    """The server's arrays, by `secret_name`."""
    return {
        secret_name(step, name): array
        for step in program.steps
        for name, array in step.arrays.items()
        if not is_public(step, name)
    }


def without_secrets(program: Program) -> Program:
    """The same steps with zeros in place of every secret array, and without the decisions that led to them."""

    def blank(step: Step) -> Step:
        arrays = {
            name: array if is_public(step, name) else np.zeros(array.shape, array.dtype)
            for name, array in step.arrays.items()
        }
        return replace(step, arrays=arrays)

    return Program(program.input_shape, tuple(blank(step) for step in program.steps))


def public_bytes(program: Program, about: ServedNetwork) -> bytes:
    """The public part of `program` as a compressed .npz file: what the server sends to the client."""
    file = io.BytesIO()
    write_program(file, without_secrets(program), about.as_json(), compressed=True)
    return file.getvalue()


def read_served(source: str | Path | BinaryIO) -> tuple[Program, ServedNetwork]:
    """The program that is served, or its public part, and what its server says of the network.

    Raises UserError as `load_program` does, and where that says too little.
    """
    program, about = load_program(source)
    return program, checked(ServedNetwork, about, source if isinstance(source, str | Path) else "the server's program")


def digest(program: Program, about: ServedNetwork) -> str:
    """SHA-256, in hex, of everything public about a program: two parties that agree on it run the same steps."""
    public = Program(program.input_shape, program.steps)
    found = hashlib.sha256(json.dumps(describe(public, about.as_json()), sort_keys=True).encode())
    for step in program.steps:
        for name, array in sorted(step.arrays.items()):
            found.update(f"{secret_name(step, name)} {array.dtype} {array.shape}".encode())
            if is_public(step, name):
                found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()
