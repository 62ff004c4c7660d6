"""The public programs that a client has met: a server that has another one next time is refused."""

from __future__ import annotations

from pathlib import Path

from formats.parties import KnownPrograms
from helper.files import read_record, write_json


class PinnedPrograms:
    """save/private_inference/known_programs.json: {address of a server: digest of its public program}."""

    def __init__(self, save_dir: str):
        self.path = Path(save_dir, "private_inference", "known_programs.json")
        self._known = dict(read_record(self.path, KnownPrograms).root) if self.path.exists() else {}

    def digest_of(self, address: str) -> str | None:
        """The digest to expect there; None where this server was never met."""
        return self._known.get(address)

    def pin(self, address: str, digest: str) -> bool:
        """Expect this digest there from now on; returns whether another one, or none, was expected before."""
        if self._known.get(address) == digest:
            return False
        self._known[address] = digest
        write_json(self.path, KnownPrograms(self._known).as_json())
        return True
