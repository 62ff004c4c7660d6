"""What small files of private inference, of measurements and of reproductions say; budgets too."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from formats.program import ProgramRecord
from private_inference.program.npz_file import describe, load_program
from private_inference.program.steps import INPUT, Program, Step
from support.cost_examples import SMALL, measured_of, results_of

ZEROS = "0" * 64
BUDGET = {"label": "relu1k", "model": "resnet8", "dataset": "digits", "image_size": 32, "source": "a paper"}
BUDGET |= {"fractions": [0.5, 0.25, 1.0, 0.0]}
PROFILES = {"ResNet18": {"source": "a paper", "eta": [0.5, 0.75, 1.0]}, "resnet8": {"source": "me", "eta": [1.0]}}

ABOUT = {"model": "small", "dataset": "digits", "branch": 0, "stage": 2, "relus": {"kept": 3, "total": 4}}
GREETING = {"version": 3, "engine": "SPU 1", "images": 4, "batch": 2, "protocol": "cheetah", "tls": False}
SETTINGS = {"protocol": "cheetah", "comparison": 32, "batch": 1, "set_up": "yacl", "threads": 1, "timeout": 9.5}
SETTINGS |= {"tls": None, "layouts": True}
JOB = {"role": "client", "listen": "a:1", "peer": "b:2", "folder": "/tmp/x", "settings": SETTINGS, "digest": ZEROS}
RESULT = {"about": ABOUT, "digest": ZEROS, "engine": "SPU 1", "images": 4, "batch": 2, "comparison": {"relu": 32}}
RESULT |= {"setup_seconds": 1.5, "costs": SMALL.as_json()}
CLEAN = {"images": 4, "CA": {"0": 50.0}, "AdvA": {}}
MEASUREMENTS = {"checkpoint": ZEROS, "cells": {"clean, images 4": CLEAN}, "unfinished": {"pgd": {"apgd": "01?"}}}
STEPS_DONE = {"teacher": {"command": ["train_teacher.py", "--epochs", "3"], "seconds": 1.5, "done": True}}
ROUND = {"title": "short", "budgets": ["15%", 500], "teacher": {"epochs": 2}, "evaluation": None}
CONFIGURATION = {"model": "resnet8", "dataset": "digits", "rounds": {"short": ROUND, "long": None}}
CONFIGURATION |= {"training": {"epochs": 1, "network": ["lan", "wan"], "use2BN": True, "eps": 0.03}, "seeds": [0, 1]}
HEADER = {"descr": "<f4", "fortran_order": False, "shape": (3, 4)}


def private_costs_content() -> dict[str, Any]:
    return results_of(measured_of(SMALL, 10, comparison={"relu": 32})).as_json()


def estimates_content() -> dict[str, Any]:
    known = {"file": "x.pth", "label": "x", "model": "resnet8", "branch": 0, "relus": {"kept": 3, "total": 4}}
    found = {"bytes": 1e6, "rounds": 10.0, "seconds": {"linear": 1.0, "total": 2.5}, "set_up": None}
    network = {"name": "wan", "bandwidth": 1e8, "rtt": 0.04}
    return {"protocol": "cheetah", "estimates": [{**known, **found, "network": network}]}


def small_program() -> Program:
    steps = (
        Step("conv", (INPUT,), "a", "conv1", ARRAYS[0], {"stride": (1, 1), "padding": (1, 1), "groups": 1}),
        Step("relu", ("a",), "b", "relu", ARRAYS[1], {"bits": 32}),
        Step("max_pool", ("b",), "c", "pool", {}, {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}),
        Step("flatten", ("c",), "d", "flatten"),
        Step("linear", ("d",), "e", "fc", ARRAYS[4]),
    )
    return Program((3, 4, 4), steps)


ARRAYS: dict[int, dict[str, np.ndarray]] = {
    0: {"weight": np.ones((2, 3, 3, 3), np.float32), "bias": np.zeros(2, np.float32)},
    1: {"mask": np.ones((2, 4, 4), bool)},
    4: {"weight": np.ones((5, 8), np.float32), "bias": np.zeros(5, np.float32)},
}


def program_content() -> dict[str, Any]:
    return describe(small_program(), ABOUT)


def program_bytes(content: Any) -> bytes:
    """A program's file, with a description of its own."""
    arrays = {f"{step:03d}.{name}": array for step, own in ARRAYS.items() for name, array in own.items()}
    file = io.BytesIO()
    np.savez(file, program=np.array(json.dumps(content)), **arrays)
    return file.getvalue()


def read_program(path: Path) -> ProgramRecord:
    return ProgramRecord.model_validate(describe(*load_program(path)))


def array_bytes(header: Any) -> bytes:
    """An array's file, with a header of its own."""
    text = f"{header}\n".encode()
    return b"\x93NUMPY\x01\x00" + (len(text) % 2**16).to_bytes(2, "little") + text + bytes(48)
