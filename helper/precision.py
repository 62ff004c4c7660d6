"""What is computed in float32, whatever training computes in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


def at_least_float32(tensor: Tensor) -> Tensor:
    """Half precision widened; float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


@contextmanager
def full_precision() -> Iterator[None]:
    """Within the context everything is float32: no autocast, no TF32. Low precision flatters robustness."""
    with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False), allow_tf32(False):
        yield


@contextmanager
def allow_tf32(allowed: bool) -> Iterator[None]:
    """Within the context a GPU may, or may not, multiply float32 as TF32."""
    backends: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = allowed
        yield
    finally:
        for backend, setting in zip(backends, before, strict=True):
            backend.allow_tf32 = setting
