"""torchvision's ResNet weights in the layout of our state dicts.

The modules have torchvision's names already. What differs is that a BranchNorm2d holds its parameters under
`branches.0`, and that our ReLUs hold masks.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from helper.errors import UserError
from models.layers import Network, relu_sites

SHOWN = 3  # differences that an error message spells out


def is_torchvision(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of a torchvision ResNet: with batch norms, and these not in branches."""
    return {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.weight"} <= state_dict.keys()


def from_torchvision(state_dict: Mapping[str, Tensor], model: Network) -> dict[str, Tensor]:
    """`state_dict` of a torchvision ResNet with the keys of `model`, a ResNet with 1 branch, and all-true masks.

    Raises UserError where the two do not fit. torchvision trained its weights on images normalised with ImageNet's mean
    and standard deviation, so that is what `model` should have been built with.
    """
    if model.spec.branches != 1:
        raise UserError(f"torchvision weights fill 1 batch-norm branch, this model has {model.spec.branches}")
    masks = {f"{name}.mask" for name in relu_sites(model)}
    converted, differences, used = {}, [], set()
    for key, own in model.state_dict().items():
        source = key.replace(".branches.0.", ".")
        used.add(source)
        if key in masks:
            converted[key] = torch.ones_like(own)
        elif source in state_dict:
            converted[key] = state_dict[source]
            if state_dict[source].shape != own.shape and source != "fc.bias":  # fc.weight tells the same
                differences.append(describe(source, state_dict[source], own))
        elif key.endswith("num_batches_tracked"):  # files of before PyTorch 0.4.1 lack it
            converted[key] = torch.zeros_like(own)
        else:
            differences.append(f"{source} is missing")
    differences += [f"{key} has no counterpart" for key in state_dict if key not in used]
    if differences:
        more = f"; and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise UserError(f"torchvision weights do not fit the model: {'; '.join(differences[:SHOWN])}{more}")
    return converted


def describe(key: str, theirs: Tensor, own: Tensor) -> str:
    """The difference in shape in the user's words, where they are obvious, else as shapes."""
    if key == "fc.weight" and theirs.shape[1:] == own.shape[1:]:
        return f"they have {len(theirs)} classes, the model has {len(own)}"
    if key == "conv1.weight" and theirs.shape[:2] == own.shape[:2]:
        return f"they have a {theirs.shape[-1]}x{theirs.shape[-1]} stem, the model has {own.shape[-1]}x{own.shape[-1]}"
    return f"{key} is {tuple(theirs.shape)}, the model has {tuple(own.shape)}"
