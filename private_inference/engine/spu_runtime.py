"""SPU, the secure engine, one party of two: compile a step, run it, and say what it cost.

Runs in the engine's environment (requirements-pi.txt), without PyTorch.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import spu
from jax import Array
from spu import libspu
from spu.utils import frontend

from private_inference.engine.cost import Cost
from private_inference.engine.protocols import FIELD_BITS, FRACTION_BITS

KINDS = {"cheetah": libspu.ProtocolKind.CHEETAH, "semi2k": libspu.ProtocolKind.SEMI2K}
FIELDS = {64: libspu.FieldType.FM64}
Link = libspu.link.Context
CLIENT, SERVER = 0, 1
PARTIES = ("client", "server")

TRAFFIC = re.compile(r"Link details: total send bytes (\d+), recv bytes (\d+), send actions (\d+), recv actions (\d+)")


def engine_name() -> str:
    return f"SPU {version('spu')}"


def connect(addresses: Sequence[str], rank: int, timeout: float) -> Link:
    """The link of party `rank`; `addresses` are host:port of client and server. Raises RuntimeError without a peer."""
    description = libspu.link.Desc()
    description.id = "rlnet"
    for name, address in zip(PARTIES, addresses, strict=True):
        description.add_party(name, address)
    description.connect_retry_interval_ms = 200
    description.connect_retry_times = max(1, int(timeout * 1000 / description.connect_retry_interval_ms))
    description.recv_timeout_ms = description.http_timeout_ms = int(timeout * 1000)
    return libspu.link.create_brpc(description, rank)


class Party:
    """One party's engine. Values are known by name to both; each holds its share of them and no more."""

    def __init__(self, link: Link, protocol: str, log: Path):
        self.link = link
        self.rank = link.rank
        self.config = libspu.RuntimeConfig(KINDS[protocol], FIELDS[FIELD_BITS], FRACTION_BITS)
        # What a party owns then stays with it and is never shared out, see `own`.
        self.config.experimental_enable_colocated_optimization = True
        # Several threads cut one message into as many as there are cores: more rounds, and no quicker for it.
        self.config.max_concurrency = 1
        self.config.enable_pphlo_profile = True  # the log then tells the traffic
        options = libspu.logging.LogOptions()
        options.enable_console_logger = False
        options.system_log_path = str(log)
        libspu.logging.setup_logging(options)
        self._log = log
        self._read = 0
        self._runtime = spu.Runtime(link, self.config)
        self._io = spu.Io(len(PARTIES), self.config)

    def own(self, name: str, array: np.ndarray, owner: int) -> None:
        """Make `array` a value. It is `owner`'s secret: the other party gives zeros of its shape, and nothing is sent.

        The engine holds it as private to its owner, and multiplies by it without ever sharing it out.
        """
        shares = self._io.make_shares(np.ascontiguousarray(array), libspu.Visibility.VIS_SECRET, owner)
        self._runtime.set_var(name, shares[self.rank])

    def forget(self, name: str) -> None:
        self._runtime.del_var(name)

    def compile(
        self,
        function: Callable[..., Array],
        inputs: Sequence[str],
        shapes: Sequence[tuple[int, ...]],
        output: str,
        code: bytes | None = None,
    ) -> libspu.Executable:
        """What runs `function`, from these values to `output`; `code` is that of the same with other names."""
        if code is not None:
            return libspu.Executable(name=output, input_names=list(inputs), output_names=[output], code=code)
        empty = [np.zeros(shape, np.float32) for shape in shapes]
        secret = [libspu.Visibility.VIS_SECRET] * len(inputs)
        return frontend.compile(frontend.Kind.JAX, function, empty, {}, list(inputs), secret, lambda _: [output])[0]

    def run(self, executable: libspu.Executable) -> Cost:
        """Run it together with the other party, and measure; its rounds are messages, see `settle_rounds`."""
        began = time.perf_counter()
        self._runtime.run(executable)
        seconds = time.perf_counter() - began
        sent, received, *messages = self._traffic()
        upload, download = (sent, received) if self.rank == CLIENT else (received, sent)
        # More one way than the other are a burst that nobody waits for.
        rounds = max(min(messages), min(max(messages), 1))
        return Cost(upload, download, rounds, seconds)

    def _traffic(self) -> tuple[int, ...]:
        """(bytes sent, received, messages sent, received) of the last run, from the engine's log."""
        with open(self._log, encoding="utf-8", errors="replace") as file:
            file.seek(self._read)
            found = TRAFFIC.findall(file.read())
            self._read = file.tell()
        if len(found) != 1:
            raise RuntimeError(f"the engine's log tells the traffic of {len(found)} runs instead of one")
        return tuple(int(value) for value in found[0])

    def reveal(self, name: str, receiver: int) -> tuple[np.ndarray | None, Cost]:
        """Open a value to `receiver` alone, who gets (the array, cost); the other gets (None, cost)."""
        share = self._runtime.get_var(name)
        began = time.perf_counter()
        other = 1 - receiver
        if self.rank == other:
            content = [share.meta, *share.share_chunks]
            self.link.send(receiver, str(len(content)))
            for part in content:
                self.link.send(receiver, part)
            size, array = sum(map(len, content)), None
        else:
            content = [self.link.recv(other) for _ in range(int(self.link.recv(other)))]
            theirs = libspu.Share()
            theirs.meta, theirs.share_chunks = content[0], content[1:]
            shares = [share, theirs] if self.rank == CLIENT else [theirs, share]
            size, array = sum(map(len, content)), self._io.reconstruct(shares)
        seconds = time.perf_counter() - began
        upload, download = (size, 0) if receiver == SERVER else (0, size)
        return array, Cost(upload, download, 1, seconds)
