"""Two parties of the engine, in its own environment: `python in_engine.py FOLDER PROTOCOL PORT PORT`, for tests.

FOLDER/values.npy holds ring elements (B, N), int64; FOLDER/program.npz the program that both run on them, its weights
known to both. Each party is given a random share of the values, and FOLDER/RANK.npz is what it holds in the end.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path

import numpy as np
from spu import libspu

from private_inference.engine.protocols import EngineSettings
from private_inference.engine.secure_program import SecureProgram, prepare
from private_inference.engine.spu_runtime import CLIENT, SERVER, Form, Party, connect
from private_inference.program.npz_file import load_program
from private_inference.program.steps import INPUT


class Sharer(Party):
    """A party whose input is a share of given ring elements, and whose output stays shared."""

    values: np.ndarray

    def own(self, name: str, array: np.ndarray, owner: int) -> None:
        super().own(name, array, owner)
        if name != INPUT or not hasattr(self, "values"):
            return
        for each, holder in (("mine", CLIENT), ("theirs", SERVER)):
            super().own(each, array, holder)
        forms = [Form(array.shape)] * 2
        self.run(self.compile(lambda x, y: x + y, ["mine", "theirs"], forms, INPUT)[0])
        share = self._runtimes[64].get_var(INPUT)
        hidden = np.random.default_rng(5).integers(-(2**63), 2**63, self.values.shape)
        content = (hidden if self.rank == CLIENT else self.values - hidden).tobytes()
        chunk = libspu.ValueChunk()
        chunk.total_bytes, chunk.chunk_offset, chunk.content = len(content), 0, content
        share.share_chunks = [chunk.SerializeToString()]
        self._runtimes[64].set_var(INPUT, share)

    def held(self, name: str) -> np.ndarray:
        content = b""
        for serialised in self._runtimes[64].get_var(name).share_chunks:
            chunk = libspu.ValueChunk()
            chunk.ParseFromString(serialised)
            content += chunk.content
        return np.frombuffer(content, "<i8")

    def reveal(self, name: str, receiver: int):
        self.output = self.held(name)
        return super().reveal(name, receiver)


def take_part(rank: int, folder: Path, protocol: str, ports: list[int]) -> None:
    program, _ = load_program(folder / "program.npz")
    values = np.load(folder / "values.npy")
    settings = EngineSettings(protocol, batch=len(values), set_up="yacl" if protocol == "cheetah" else None, timeout=60)
    link = connect([f"127.0.0.1:{port}" for port in ports], rank, settings)
    party = Sharer(link, settings, folder / f"{rank}.log")
    secure = SecureProgram(party, program, settings)
    prepare(party, program, settings)
    party.values = values
    empty = np.zeros((len(values), *program.input_shape), np.float32)
    _, costs = secure.run(empty if rank == CLIENT else None)
    np.savez(folder / f"{rank}.npz", output=party.output, costs=np.array([cost.values() for cost in costs]))
    link.barrier()
    link.stop_link()
    os._exit(0)


def main(folder: Path, protocol: str, ports: list[int]) -> None:
    parties = [
        multiprocessing.get_context("fork").Process(target=take_part, args=(rank, folder, protocol, ports))
        for rank in range(2)
    ]
    for party in parties:
        party.start()
    for party in parties:
        party.join()
    # Not by their exit status: the engine ends a process whose farewell finds the other one gone.
    sys.exit(not all((folder / f"{rank}.npz").is_file() for rank in range(2)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], [int(port) for port in sys.argv[3:]])
