"""Checkpoints that describe themselves: `load_model(path)` needs nothing but the file, or the 'zoo:NAME' of one.

Written to a temporary file, then renamed; read with weights_only=True, so that no code in a file is ever run.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from helper.errors import UserError
from helper.files import Kind, check_unpacked, replace_file
from helper.zoo import local_file

FORMAT = "rlnet-checkpoint"
VERSION = 1


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


def known_content(path: str | Path) -> dict:
    """What a checkpoint of ours says, for defaults; nothing where the file is missing, damaged or another's."""
    try:
        return read_checkpoint(path)
    except UserError:  # whoever needs the file will say so
        return {}


def read_checkpoint(path: str | Path) -> dict:
    """A checkpoint of ours, on the CPU. Raises UserError for a file that is missing, damaged, foreign or too new."""
    content = read_file(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        bare = isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values())
        hint = "; it is a bare state dict, which only --path_t takes" if bare else ""
        raise UserError(f"{path}: no checkpoint of this project{hint}")
    if content.get("version") != VERSION:
        raise UserError(f"{path}: checkpoint version {content.get('version')}, this code reads {VERSION}")
    return content


def tensors_to_cpu(value: Any) -> Any:
    """A copy of nested dicts and lists with every tensor on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: tensors_to_cpu(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(tensors_to_cpu(item) for item in value)
    return value
