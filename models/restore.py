"""Networks from checkpoints: `load_model(path)` needs nothing but the file, or the 'zoo:NAME' of one."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from torch import nn

from dataset import DatasetSpec, dataset_spec
from dataset.folder import PREFIX, short_name
from helper.checkpoint import FORMAT, VERSION, read_checkpoint
from helper.errors import UserError
from models import build_model, own
from models.layers import BranchNorm2d, Network

KEPT_DATA = "data_set"  # what of its data set a checkpoint keeps


def describe_model(name: str, model: Network) -> dict:
    """The part of a checkpoint that rebuilds the network: its name, arguments and weights with bare keys."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": {"name": name, **asdict(model.spec)},
        **own.described(name),
        "state_dict": {key: value.detach().cpu().clone() for key, value in model.state_dict().items()},
    }


def restore_model(checkpoint: dict, path: str | Path) -> Network:
    """The network that a checkpoint describes, with its weights and masks."""
    own.check_named(checkpoint, path)
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


def keep_branch(network: Network, branch: int) -> Network:
    """The network itself, left with that batch-norm branch alone, which is then its branch 0."""
    network.spec = replace(network.spec, branches=1)
    for norm in network.modules():
        if isinstance(norm, BranchNorm2d):
            norm.branches = nn.ModuleList([norm.branches[branch]])
            norm.route = ((None, 0),)
    return network


def checkpoint_data(
    checkpoint: dict, path: str | Path, given: str | None = None, remedy: str = "add --dataset"
) -> DatasetSpec:
    """What a checkpoint was trained on, as it was then.

    `given`: --dataset, which counts where the checkpoint, made by hand or another's, does not say, and tells where a
    folder of images lies now. Raises UserError where the two are at odds.
    """
    name, kept = checkpoint.get("dataset"), checkpoint.get(KEPT_DATA)
    if given is None:
        if name is None:
            raise UserError(f"{path} does not name its data set; {remedy}")
        given = f"{PREFIX}{kept['path']}" if kept else name
    elif name is not None and name != short_name(given):
        raise UserError(f"--dataset {given} contradicts {path}, which has {name}")
    return dataset_spec(given, kept)


def checkpoint_branches(checkpoint: dict) -> list[int]:
    """The batch-norm branches that saw images in training; the first, where the checkpoint does not say."""
    return checkpoint.get("trained_branches", [0])
