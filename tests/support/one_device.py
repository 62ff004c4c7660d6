"""Slips that a GPU would punish, seen without one: the device 'meta' has shapes, and no values to read."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device("meta")


class Slip(Exception):
    """Kernels met tensors of two devices, or the host waited for the device."""


class OneDevice(TorchDispatchMode):
    """Within the context every kernel stays on one device, down to tensors of one number, and nothing is read back.

    `uploads`: whether the host may bring the device something.
    """

    def __init__(self, *, uploads: bool = False):
        super().__init__()
        self.uploads = uploads

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = kernel._schema.name
        given = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        wanted = {kwargs["device"].type} if given and kwargs.get("device") else set()
        uploads = self.uploads and name == "aten::_to_copy" and given == {"cpu"}
        if len(given | wanted) > 1 and not uploads:
            raise Slip(f"{name} from {sorted(given)} to {sorted(wanted)}")
        if name == "aten::_local_scalar_dense" and given == {META.type}:
            raise Slip("a number is read from the device")
        return kernel(*args, **kwargs)
