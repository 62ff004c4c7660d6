"""Teachers from other people's state dicts, matched by names and shapes and never by a guess."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from formats.checkpoint import FORMAT, Description, ModelRecord
from helper.checkpoint import read_file
from helper.errors import UserError
from models import architecture_of, build_model
from models.layers import ModelSpec, Network, relu_sites
from models.layouts import LAYOUTS, Layout
from models.restore import load_model

# What a teacher without a normalisation of its own was trained on: pixels in [0, 1], or normalised by the data set's.
RAW, NORMALISED = TEACHER_IMAGES = ("raw", "normalized")
# Under what others put the weights in a file, what wrapped the network has before its keys, and what normalises there.
NESTS = ("state_dict", "model_state_dict", "model", "net")
WRAPPERS = ("module.", "model.", "1.")
NORMALISATIONS = (("mu", "sigma"), ("mean", "std"), ("normalize.mean", "normalize.std"), ("0.mean", "0.std"))
FIRST, SHOWN = 5, 3  # keys, and differences in shape, that an error message spells out

Normalisation = tuple[tuple[float, ...], tuple[float, ...]]


def load_teacher(
    path: str | Path, spec: ModelSpec, student: str, images: str | None = None
) -> tuple[Network, Description]:
    """A teacher for a student of that name: one of our checkpoints, or a state dict in one of LAYOUTS.

    A state dict names no model and no data set; it is taken as the student's architecture under `spec`, with one
    branch and its own normalisation. `images`, one of TEACHER_IMAGES, says what it takes where it holds none. Raises
    UserError for a file that is of no layout, of another architecture, or at odds with `images`.
    """
    content = read_file(path)
    foreign = content if isinstance(content, dict) and content.get("format") != FORMAT else None
    state = weights_in(foreign) if foreign is not None else None
    if state is None:
        if images and foreign is None:
            raise UserError(f"{path} says itself how its images are normalised; leave --teacher_images out")
        return load_model(path)
    name = architecture_of(student)
    try:
        state, normalisation = unwrapped(state)
        layout = layout_of(state, name, spec)
        mean, std = settle_normalisation(normalisation, layout, spec, images)
        spec = replace(spec, branches=1, mean=mean, std=std)
        model = build_model(name, **asdict(spec))
        model.load_state_dict(converted(state, model, name, layout))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return model, Description(model=ModelRecord(name=name, **asdict(spec)), origin=layout.title)


def weights_in(content: Mapping[str, object]) -> Mapping[str, Tensor] | None:
    """The state dict that is all of a file, or under one of NESTS; None where there is none."""
    for name in NESTS:
        if isinstance(nested := content.get(name), Mapping):
            return weights_in(nested)
    tensors = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    return tensors if tensors and len(tensors) == len(content) else None


def unwrapped(state: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Normalisation | None]:
    """(the network's own part, mean and standard deviation of a normalisation before it, where there is one)."""
    normalisation = None
    while state:
        prefix = next((prefix for prefix in WRAPPERS if all(key.startswith(prefix) for key in state)), None)
        pair = next((pair for pair in NORMALISATIONS if state.keys() >= set(pair)), None)
        if prefix:
            state = {key.removeprefix(prefix): value for key, value in state.items()}
        elif pair and normalisation is None and all(state[key].numel() == 3 for key in pair):
            mean, std = (tuple(state[key].flatten().tolist()) for key in pair)
            normalisation = mean, std
            state = {key: value for key, value in state.items() if key not in pair}
        else:
            break
    return state, normalisation


def layout_of(state: Mapping[str, Tensor], name: str, spec: ModelSpec) -> Layout:
    layout = next((layout for layout in LAYOUTS if layout.recognises(state)), None)
    if layout is None:
        own = build_model(name, **asdict(replace(spec, branches=1))).state_dict()
        titles = ", ".join(layout.title for layout in LAYOUTS if not layout.refusal)
        raise UserError(
            f"its keys are none of a known layout ({titles}); they begin with {first(state)}; those of {name} with "
            f"{first(own)}"
        )
    if layout.refusal:
        raise UserError(f"its keys are those of a {layout.title}; {layout.refusal}")
    return layout


def settle_normalisation(
    found: Normalisation | None, layout: Layout, spec: ModelSpec, images: str | None
) -> Normalisation:
    if found and images:
        raise UserError("it holds a normalisation of its own; leave --teacher_images out")
    if found:
        return found
    if images == RAW:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if images == NORMALISED or layout.normalised_by_data_set:
        return spec.mean, spec.std
    raise UserError(
        f"nothing in it says what images it takes; add --teacher_images {RAW}, for pixels in [0, 1], as most robust "
        f"networks take them, or --teacher_images {NORMALISED}, by the data set's mean and standard deviation"
    )


def converted(state: Mapping[str, Tensor], model: Network, name: str, layout: Layout) -> dict[str, Tensor]:
    """`state` with the keys of `model`, an architecture of that name with one branch, and all-true masks."""
    masks = {f"{site}.mask" for site in relu_sites(model)}
    found, missing, differing, used = {}, [], [], set()
    for key, own in model.state_dict().items():
        source = layout.key(key)
        used.add(source)
        if key in masks:
            found[key] = torch.ones_like(own)
        elif source in state:
            found[key] = state[source]
            if state[source].shape != own.shape and key != "fc.bias":  # fc.weight tells the same
                differing.append(difference(key, state[source], own))
        elif key.endswith("num_batches_tracked"):  # files of before PyTorch 0.4.1 lack it
            found[key] = torch.zeros_like(own)
        else:
            missing.append(source)
    extra = [key for key in state if key not in used and layout.reads(key)]
    if missing or extra:
        raise UserError(
            f"{layout.title} weights are not those of {name}: of its keys they lack {first(missing)}; it has no "
            f"place for {first(extra)}"
        )
    if differing:
        more = f"; and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise UserError(f"{layout.title} weights do not fit {name}: {'; '.join(differing[:SHOWN])}{more}")
    return found


def first(keys: Iterable[str]) -> str:
    """The first five, in words."""
    keys = list(keys)
    return ", ".join(keys[:FIRST]) + (", ..." if len(keys) > FIRST else "") or "none"


def difference(key: str, theirs: Tensor, own: Tensor) -> str:
    """The difference in shape in the user's words, where they are obvious, else as shapes; `key` is ours."""
    if key == "fc.weight" and theirs.shape[1:] == own.shape[1:]:
        return f"they have {len(theirs)} classes, the model has {len(own)}"
    if key == "conv1.weight" and theirs.shape[:2] == own.shape[:2]:
        return f"they have a {theirs.shape[-1]}x{theirs.shape[-1]} stem, the model has {own.shape[-1]}x{own.shape[-1]}"
    return f"{key} is {tuple(theirs.shape)}, the model has {tuple(own.shape)}"
