"""Networks from checkpoints: `load_model(path)` needs nothing but the file, or the 'zoo:NAME' of one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from dataset import DatasetSpec, dataset_spec
from dataset.folder import PREFIX, short_name
from formats.checkpoint import FORMAT, VERSION, Checkpoint, Description, ModelRecord
from helper.checkpoint import read_checkpoint
from helper.errors import UserError
from models import build_model, outline, own
from models.layers import BranchNorm2d, Network, relu_sites


def describe_model(name: str, model: Network) -> dict:
    """The fields of a checkpoint that rebuild the network: its name, arguments and weights with bare keys."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": ModelRecord(name=name, **asdict(model.spec)),
        **own.described(name),
        "state_dict": {key: value.detach().cpu().clone() for key, value in model.state_dict().items()},
    }


def restore_model(checkpoint: Checkpoint, path: str | Path) -> Network:
    """The network that a checkpoint describes, with its weights and masks. Raises UserError where they do not fit."""
    own.check_named(checkpoint, path)
    arguments = checkpoint.model.model_dump()
    try:
        if not checkpoint.code:  # somebody's own code may do anything, and is run only where it is named
            check_shapes(checkpoint.state_dict, outline(**arguments))
        model = build_model(**arguments)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    load_weights(model, checkpoint.state_dict, path)
    return model


def check_shapes(state: Mapping[str, Tensor], outline: nn.Module) -> None:
    """Raise UserError where `state` does not fit a network of which only shapes are known, before memory is taken.

    Masks, whose shapes only a network that was run knows, are left out.
    """
    wanted = outline.state_dict()
    if odd := sorted(state.keys() ^ wanted.keys()):
        raise UserError(f"its weights do not fit the model it names: {odd[0]} is in one of the two only")
    masks = {f"{site}.mask" for site in relu_sites(outline)}
    for key, tensor in wanted.items():
        found, shape = tuple(state[key].shape), tuple(tensor.shape)
        if key not in masks and found != shape:
            raise UserError(f"its weights do not fit the model it names: {key} is {found}, not {shape}")


def load_weights(model: Network, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Put weights and masks, as `path` has them, into a network. Raises UserError where they do not fit.

    Numbers that are not finite are told of, no more: that is what there is.
    """
    for name in relu_sites(model):
        mask = state.get(f"{name}.mask")
        if mask is not None and mask.dtype != torch.bool:
            raise UserError(f"{path}: {name}.mask is {mask.dtype}; masks are bool")
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"{path}: its weights do not fit the model it names ({error})") from error
    odd = [key for key, value in model.state_dict().items() if not value.isfinite().all()]
    if odd and os.environ.get("RANK", "0") == "0":
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        print(f"note: {path}: {odd[0]}{more} holds numbers that are not finite", file=sys.stderr)


def load_model(path: str | Path) -> tuple[Network, Checkpoint]:
    """(network on the CPU, checkpoint) of any checkpoint of ours."""
    checkpoint = read_checkpoint(path)
    return restore_model(checkpoint, path), checkpoint


def keep_branch(network: Network, branch: int) -> Network:
    """The network itself, left with that batch-norm branch alone, which is then its branch 0."""
    network.spec = replace(network.spec, branches=1)
    for norm in network.modules():
        if isinstance(norm, BranchNorm2d):
            norm.branches = nn.ModuleList([norm.branches[branch]])
            norm.route = ((None, 0),)
    return network


def checkpoint_data(
    checkpoint: Description | None, path: str | Path, given: str | None = None, remedy: str = "add --dataset"
) -> DatasetSpec:
    """What a checkpoint was trained on, as it was then.

    `given`: --dataset, which counts where the checkpoint, made by hand or another's (None), does not say, and tells
    where a folder of images lies now. Raises UserError where the two are at odds.
    """
    name, kept = (checkpoint.dataset, checkpoint.data_set) if checkpoint else (None, None)
    if given is None:
        if name is None:
            raise UserError(f"{path} does not name its data set; {remedy}")
        try:
            return dataset_spec(f"{PREFIX}{kept.path}" if kept else name, kept)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    if name is not None and name != short_name(given):
        raise UserError(f"--dataset {given} contradicts {path}, which has {name}")
    return dataset_spec(given, kept)
