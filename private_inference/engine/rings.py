"""Shares carried from the 64-bit ring to the 32-bit one and back, by each party alone: nothing is sent.

x = x0 + x1 modulo 2^64 is also x = x0 + x1 modulo 2^32, so the low halves of two shares are shares of the value modulo
2^32. Its sign is the value's own where -2^31 <= x < 2^31 in fixed point, that is -8,192 <= x < 8,192; a value outside
has a wrong sign, and nothing tells so. private_inference/program/comparison.py decides where that cannot be.
"""

from __future__ import annotations

import re

import numpy as np
from spu import libspu

# A share of a number, or a number that one party owns; and a share of one bit, or a bit that one party owns.
NUMBER = re.compile(r"(\w+\.AShr<FM\d+>|Priv2k<FM\d+,\d+>)")
BIT = re.compile(r"(\w+\.BShr<FM\d+,1>|Priv2k<FM\d+,\d+>)")


def low_half(share: libspu.Share) -> libspu.Share:
    """The share of a number in the 64-bit ring as one in the 32-bit ring."""
    return _recast(share, NUMBER, (64, "<u8"), (32, "<u4"))


def zero_extended(share: libspu.Share) -> libspu.Share:
    """The share of a bit in the 32-bit ring as one in the 64-bit ring."""
    return _recast(share, BIT, (32, "<u4"), (64, "<u8"))


def _recast(share: libspu.Share, kinds: re.Pattern, old: tuple[int, str], new: tuple[int, str]) -> libspu.Share:
    meta = libspu.ValueMeta()
    meta.ParseFromString(share.meta)
    if not kinds.fullmatch(meta.storage_type) or f"<FM{old[0]}" not in meta.storage_type:
        raise RuntimeError(f"a share of the kind {meta.storage_type} cannot be carried to {new[0]} bits")
    meta.storage_type = meta.storage_type.replace(f"<FM{old[0]}", f"<FM{new[0]}")
    content = b"".join(_content(chunk) for chunk in share.share_chunks)
    found = libspu.Share()
    found.meta = meta.SerializeToString()
    found.share_chunks = [_chunk(np.frombuffer(content, old[1]).astype(new[1]).tobytes())]
    return found


def _content(serialised: bytes) -> bytes:
    chunk = libspu.ValueChunk()
    chunk.ParseFromString(serialised)
    return chunk.content


def _chunk(content: bytes) -> bytes:
    chunk = libspu.ValueChunk()
    chunk.total_bytes, chunk.chunk_offset, chunk.content = len(content), 0, content
    return chunk.SerializeToString()
