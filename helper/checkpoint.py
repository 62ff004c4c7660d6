"""Checkpoints that describe themselves: `load_model(path)` needs nothing but the file, or the 'zoo:NAME' of one.

Written to a temporary file, then renamed; read with weights_only=True, so that no code in a file is ever run.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from formats.checkpoint import FORMAT, VERSION, Checkpoint, OptimizerRecord, PruningState, RunState
from formats.record import what_is_wrong
from helper.errors import UserError, checked
from helper.files import Kind, check_unpacked, replace_file
from helper.zoo import local_file

ADAMS = ("step", "exp_avg", "exp_avg_sq")  # buffers of every parameter


def packed(checkpoint: Checkpoint) -> memoryview:
    """The content of a checkpoint's file."""
    # Through memory, for torch.save hides what the disk says behind a RuntimeError of its own.
    content = io.BytesIO()
    torch.save(checkpoint.model_dump(exclude_unset=True), content)
    return content.getbuffer()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    content = packed(checkpoint)
    replace_file(path, lambda file: file.write(content))


def read_file(path: str | Path) -> object:
    """Whatever tensors and plain values a file of torch.save, or 'zoo:NAME', holds. Raises UserError otherwise."""
    path = local_file(path)
    check_unpacked(path, Kind.CHECKPOINT)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles, which are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise UserError(f"{path}: refused, for it holds Python objects or code beside tensors") from error
        raise UserError(f"{path}: not a checkpoint, or a damaged one") from error
    except Exception as error:  # torch, zip and pickle have a dozen ways to fail on damaged bytes
        raise UserError(f"{path}: truncated or damaged, or not a checkpoint") from error


def known_checkpoint(path: str | Path) -> Checkpoint | None:
    """What a checkpoint of ours says, for defaults; None where the file is missing, damaged or another's."""
    try:
        return find_checkpoint(path)
    except UserError:  # whoever needs the file will say so
        return None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """A checkpoint of ours, on the CPU. Raises UserError for a file that is missing, damaged, foreign or too new."""
    return checked(Checkpoint, _ours(path), path)


def read_pruning_state(path: str | Path) -> PruningState:
    """As `read_checkpoint`, for a file that compute_sensitivity.py goes on from."""
    return checked(PruningState, _ours(path), path)


def find_checkpoint(path: str | Path) -> Checkpoint | None:
    """As `read_checkpoint`; None for other people's files."""
    content = read_file(path)
    return read_checkpoint(path) if isinstance(content, dict) and content.get("format") == FORMAT else None


def read_run_state(path: str | Path) -> RunState:
    """As `read_checkpoint`, for a file that holds the state of a training run too."""
    content = _ours(path)
    if "progress" not in content:
        raise UserError(f"--resume {path}: this file holds weights only; go on from the run's *_last.pth")
    return checked(RunState, content, path)


def _ours(path: str | Path) -> dict:
    content = read_file(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        bare = isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values())
        hint = "; it is a bare state dict, which only --path_t takes" if bare else ""
        raise UserError(f"{path}: no checkpoint of this project{hint}")
    version = content.get("version")
    if isinstance(version, int) and version != VERSION:
        raise UserError(f"{path}: checkpoint version {version}, this code reads {VERSION}")
    return content


def load_optimizer(optimizer: torch.optim.Optimizer, stored: OptimizerRecord) -> None:
    """Its buffers and its rate, as they are stored; its other settings are those that it was made with.

    Raises ValueError where they are not those of its parameters.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, buffers in stored.state.items():
        if number >= len(parameters):
            raise ValueError(f"the optimizer has {len(parameters)} parameters, not one of number {number}")
        for name, buffer in buffers.items():
            if buffer.shape != (() if name == "step" else parameters[number].shape):
                raise ValueError(f"the optimizer's {name} of parameter {number} is {tuple(buffer.shape)}")
    if isinstance(optimizer, torch.optim.Adam) and stored.state:
        for number, name in product(range(len(parameters)), ADAMS):
            if name not in stored.state.get(number, ()):
                raise ValueError(f"the optimizer has no {name} of parameter {number}")
    rate = stored.param_groups[0].lr
    groups = [{**group, "lr": rate} for group in optimizer.state_dict()["param_groups"]]
    more = stored.model_dump(include={"kept", "gradients"}, exclude_none=True)
    optimizer.load_state_dict({"state": stored.state, "param_groups": groups, **more})


def check_first_step(optimizer: torch.optim.SGD, path: str | Path) -> None:
    """Let the next step raise UserError where `path` lacks a buffer: only gradients tell which parameters need one."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    names = {name for buffers in optimizer.state.values() for name in buffers}

    def check(*_: object) -> None:
        for number, parameter in enumerate(parameters):
            if parameter.grad is not None and (lacking := names - optimizer.state.get(parameter, {}).keys()):
                what = f"the optimizer has no {min(lacking)} of parameter {number}"
                raise UserError(f"{path}: its state of the run is damaged ({what})")
        names.clear()

    optimizer.register_step_pre_hook(check)


@contextmanager
def fits_this_run(path: str | Path) -> Iterator[None]:
    """Raise UserError where what `path` has of a run's state cannot be put into its parts."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        said = what_is_wrong(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:200]
        raise UserError(f"{path}: its state of the run is damaged, or of another run ({said})") from error


def tensors_to_cpu(value: Any) -> Any:
    """A copy of nested dicts and lists with every tensor on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: tensors_to_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(tensors_to_cpu(item) for item in value)
    return value
