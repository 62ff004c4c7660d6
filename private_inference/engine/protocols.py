"""What the secure engine can speak, for those who ask without having it installed."""

from __future__ import annotations

FIELD_BITS = 64
FRACTION_BITS = 18

# `dealer`: a trusted third party makes the randomness beforehand, which is then in nobody's figures.
PROTOCOLS = {"cheetah": {"dealer": False}, "semi2k": {"dealer": True}}

# The engine ends a process, without a word, one of whose messages finds the other party gone.
LOST_PEER_STATUS = 255


def peer_has_ended(address: str) -> str:
    return f"the other party at {address} has ended; its own last line says why"


def describe_protocol(name: str) -> dict:
    return {"protocol": name, "field_bits": FIELD_BITS, "fraction_bits": FRACTION_BITS, **PROTOCOLS[name]}
