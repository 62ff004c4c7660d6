"""A network readied for an attack, and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from models.layers import use_branch


@contextmanager
def attack_mode(model: nn.Module, branch: int) -> Iterator[nn.Module]:
    """Within the context `model` is in eval mode, frozen, and takes `branch`; after it, all is as it was."""
    training = [(module, module.training) for module in model.modules()]
    trainable = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in trainable:
            parameter.requires_grad_(False)
        with use_branch(model, branch):
            yield model
    finally:
        for module, mode in training:
            module.training = mode
        for parameter, flag in trainable:
            parameter.requires_grad_(flag)
