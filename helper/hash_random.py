"""Random numbers that are a function of what they are for: no generator, hence no state to save, to split or to order.

Number j of image i under a key (seed, epoch, ...) is a hash of (i, key, j), in the manner of counter-based generators
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), with the finaliser of MurmurHash3 as the mixer.
So an image meets the same numbers on any device, in any batch, on any number of processes, and in a resumed run.
"""

from __future__ import annotations

import torch
from torch import Tensor

_LOW_32_BITS = 0xFFFFFFFF


def random_bits(indices: Tensor, count: int, *key: int | Tensor) -> Tensor:
    """int64 (B, count), uniform in [0, 2**32), on the device of `indices` (B,): the images' numbers.

    More numbers are those of a smaller `count` and some after them. A part of the key may be an int64 scalar there too.
    """
    state = _mix(indices.long() & _LOW_32_BITS)
    for part in key:
        state = _mix((state + 0x9E3779B9 + part) & _LOW_32_BITS)
    positions = _mix(torch.arange(1, count + 1, device=indices.device))
    return _mix(_mix(state[:, None] ^ positions) + state[:, None] & _LOW_32_BITS)


def uniform(indices: Tensor, count: int, *key: int) -> Tensor:
    """float64 (B, count), uniform in the open interval (0, 1), so that its logarithm is finite."""
    return (random_bits(indices, count, *key).double() + 0.5) * 2.0**-32


def _mix(value: Tensor) -> Tensor:
    """The finaliser of MurmurHash3, on 32-bit values held in int64."""
    value = value ^ (value >> 16)
    value = (value * 0x85EBCA6B) & _LOW_32_BITS
    value = value ^ (value >> 13)
    value = (value * 0xC2B2AE35) & _LOW_32_BITS
    return value ^ (value >> 16)
