"""What the secure engine can speak and how it is run, for those who ask without having it installed."""

from __future__ import annotations

from dataclasses import dataclass

FIELD_BITS = 64
FRACTION_BITS = 18

# `dealer`: a trusted third party makes the randomness beforehand, which is then in nobody's figures.
PROTOCOLS = {"cheetah": {"dealer": False}, "semi2k": {"dealer": True}}

# How cheetah prepares its oblivious transfers, once: in many small messages, that do not wait for each other, or in few
# large ones and with more computing.
SET_UPS = {"yacl": "YACL_Ferret", "emp": "EMP_Ferret"}

# The engine ends a process, without a word, one of whose messages finds the other party gone.
LOST_PEER_STATUS = 255


@dataclass(frozen=True)
class EngineSettings:
    """How the two engines are run. Both parties need the same, but for `threads`, `timeout` and the paths of `tls`.

    comparison  bits of the ring that secret comparisons are made in, where the program allows it
    batch       images that one run of the program takes
    set_up      of SET_UPS; None for a protocol that has none
    threads     of one party's engine
    timeout     seconds without an answer after which the other party is given up
    tls         paths of this party's certificate, its key, and the certificate authority that both trust
    layouts     whether products are chosen by price (engine/products.py); else each is as the engine has it
    """

    protocol: str = "cheetah"
    comparison: int = 32
    batch: int = 1
    set_up: str | None = "yacl"
    threads: int = 1
    timeout: float = 120
    tls: tuple[str, str, str] | None = None
    layouts: bool = True

    def described(self) -> dict:
        """What changes a figure or must be the same on both sides, plain JSON values."""
        return {
            "protocol": self.protocol,
            "field_bits": FIELD_BITS,
            "fraction_bits": FRACTION_BITS,
            **PROTOCOLS[self.protocol],
            "comparison": self.comparison,
            "set_up": self.set_up,
            "layouts": self.layouts,
            "tls": self.tls is not None,
        }


def settle_set_up(protocol: str, asked: str | None) -> str | None:
    """None for a protocol that has no oblivious transfers to set up."""
    return asked if protocol == "cheetah" else None


def peer_has_ended(address: str) -> str:
    return f"the other party at {address} has ended; its own last line says why"
