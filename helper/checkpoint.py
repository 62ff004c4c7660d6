"""Checkpoints that describe themselves: `load_model(path)` needs nothing but the file, or the 'zoo:NAME' of one.

Written to a temporary file, then renamed; read with weights_only=True, so that no code in a file is ever run.
"""

from __future__ import annotations

import io
import os
import pickle
import warnings
import zipfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from helper.errors import UserError
from helper.zoo import local_file
from models import architecture_of, build_model
from models.layers import ModelSpec, Network
from models.torchvision_weights import from_torchvision, is_torchvision

FORMAT = "rlnet-checkpoint"
VERSION = 1


def describe_model(name: str, model: Network) -> dict:
    """The part of a checkpoint that rebuilds the network: its name, arguments and weights with bare keys."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": {"name": name, **asdict(model.spec)},
        "state_dict": {key: value.detach().cpu().clone() for key, value in model.state_dict().items()},
    }


def replace_file(path: Path, write) -> None:
    """Let `write(file)` fill a temporary file beside `path`, then rename it; a failure leaves and loses nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise UserError(f"{path}: {error.strerror or error}; what was there before is intact") from error
        raise


def packed(checkpoint: dict) -> memoryview:
    """The content of a checkpoint's file."""
    # Through memory, for torch.save hides what the disk says behind a RuntimeError of its own.
    content = io.BytesIO()
    torch.save(checkpoint, content)
    return content.getbuffer()


def save_checkpoint(path: Path, checkpoint: dict) -> None:
    content = packed(checkpoint)
    replace_file(path, lambda file: file.write(content))


def read_file(path: str | Path) -> object:
    """Whatever tensors and plain values a file of torch.save, or 'zoo:NAME', holds. Raises UserError otherwise."""
    path = local_file(path)
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of foreign pickles, which are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if zipfile.is_zipfile(path):
            raise UserError(f"{path}: refused, for it holds Python objects or code beside tensors") from error
        raise UserError(f"{path}: not a checkpoint, or a damaged one") from error
    except (RuntimeError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: truncated or damaged, or not a checkpoint") from error


def read_checkpoint(path: str | Path) -> dict:
    """A checkpoint of ours, on the CPU. Raises UserError for a file that is missing, damaged, foreign or too new."""
    content = read_file(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        hint = ""
        if isinstance(content, dict) and is_torchvision(content):
            hint = "; it is a torchvision state dict, which only --path_t takes"
        raise UserError(f"{path}: no checkpoint of this project{hint}")
    if content.get("version") != VERSION:
        raise UserError(f"{path}: checkpoint version {content.get('version')}, this code reads {VERSION}")
    return content


def restore_model(checkpoint: dict, path: str | Path) -> Network:
    """The network that a checkpoint describes, with its weights and masks."""
    try:
        arguments = dict(checkpoint["model"])
        model = build_model(arguments.pop("name"), **arguments)
        model.load_state_dict(checkpoint["state_dict"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (LookupError, TypeError, AttributeError, RuntimeError) as error:
        raise UserError(f"{path}: its weights do not fit the model it names ({error})") from error
    return model


def load_model(path: str | Path) -> tuple[Network, dict]:
    """(network on the CPU, checkpoint) of any checkpoint of ours."""
    checkpoint = read_checkpoint(path)
    return restore_model(checkpoint, path), checkpoint


def checkpoint_dataset(
    checkpoint: dict, path: str | Path, given: str | None = None, remedy: str = "add --dataset"
) -> str:
    """What a checkpoint was trained on; `given` where it does not say, as one that was made by hand may not."""
    name = checkpoint.get("dataset", given)
    if name is None:
        raise UserError(f"{path} does not name its data set; {remedy}")
    return name


def checkpoint_branches(checkpoint: dict) -> list[int]:
    """The batch-norm branches that saw images in training; the first, where the checkpoint does not say."""
    return checkpoint.get("trained_branches", [0])


def load_teacher(path: str | Path, spec: ModelSpec, student: str) -> tuple[Network, dict]:
    """A teacher for a student of that name: one of our checkpoints, or torchvision's own state dict of a ResNet.

    A torchvision file names no model and no data set; it is taken as the student's architecture under `spec`, with one
    branch.
    """
    content = read_file(path)
    if not (isinstance(content, dict) and is_torchvision(content)):
        return load_model(path)
    name = architecture_of(student)
    checkpoint = {"model": {"name": name, **asdict(spec), "branches": 1}, "origin": "torchvision"}
    arguments = {key: value for key, value in checkpoint["model"].items() if key != "name"}
    model = build_model(name, **arguments)
    model.load_state_dict(from_torchvision(content, model))
    return model, checkpoint


def tensors_to_cpu(value: object) -> object:
    """A copy of nested dicts and lists with every tensor on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: tensors_to_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(tensors_to_cpu(item) for item in value)
    return value
