"""SPU, the secure engine, one party of two: compile a step, run it, and say what it cost.

Runs in the engine's environment (requirements-pi.txt), without PyTorch.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
import spu
from jax import Array
from spu import libspu
from spu.utils import frontend

from private_inference.engine.cost import Cost
from private_inference.engine.protocols import FIELD_BITS, FRACTION_BITS, SET_UPS, EngineSettings
from private_inference.engine.rings import low_half, zero_extended

CLIENT, SERVER = 0, 1
PARTIES = ("client", "server")

TRAFFIC = re.compile(r"Link details: total send bytes (\d+), recv bytes (\d+), send actions (\d+), recv actions (\d+)")


class Link(Protocol):
    """What is used of the engine's own link to the other party."""

    rank: int

    def spawn(self) -> Link: ...

    def send(self, receiver: int, content: str | bytes) -> None: ...

    def recv(self, sender: int) -> bytes: ...

    def all_gather(self, content: str) -> list[str]: ...

    def barrier(self) -> None: ...

    def stop_link(self) -> None: ...


def engine_name() -> str:
    return f"SPU {version('spu')}"


def connect(addresses: Sequence[str], rank: int, settings: EngineSettings) -> Link:
    """The link of party `rank`; `addresses` are host:port of client and server. Raises RuntimeError without a peer."""
    description = libspu.link.Desc()
    description.id = "rlnet"
    for name, address in zip(PARTIES, addresses, strict=True):
        description.add_party(name, address)
    description.connect_retry_interval_ms = 200
    description.connect_retry_times = max(1, int(settings.timeout * 1000 / description.connect_retry_interval_ms))
    description.recv_timeout_ms = description.http_timeout_ms = int(settings.timeout * 1000)
    if settings.tls:
        description.enable_ssl = True
        for options in (description.client_ssl_opts, description.server_ssl_opts):
            options.cert.certificate_path, options.cert.private_key_path, options.verify.ca_file_path = settings.tls
            options.verify.verify_depth = 1  # without it, anybody's certificate would do
    return libspu.link.create_brpc(description, rank)


def engine_config(settings: EngineSettings, bits: int) -> libspu.RuntimeConfig:
    config = libspu.RuntimeConfig()
    chosen = {"protocol": settings.protocol.upper(), "field": f"FM{bits}", "fxp_fraction_bits": FRACTION_BITS}
    if settings.set_up:
        chosen["cheetah_2pc_config"] = {"ot_kind": SET_UPS[settings.set_up]}
    if not config.ParseFromJsonString(json.dumps(chosen)):
        raise RuntimeError(f"the engine does not take {chosen}")
    # What a party owns then stays with it and is never shared out, see `own`.
    config.experimental_enable_colocated_optimization = True
    # The parties compute in turns, so each may have all cores. More threads cut one message into as many.
    config.max_concurrency = settings.threads
    config.enable_pphlo_profile = True  # the log then tells the traffic
    return config


@dataclass(frozen=True)
class Form:
    """The shape of a value, and what it holds: numbers, or signs."""

    shape: tuple[int, ...]
    dtype: str = "float32"


class Party:
    """One party's engine. Values are known by name to both; each holds its share of them and no more.

    It computes in the 64-bit ring, and in a 32-bit one beside it, over the same link, what `narrow` carries there.
    """

    def __init__(self, link: Link, settings: EngineSettings, log: Path):
        self.link = link
        self.rank = link.rank
        options = libspu.logging.LogOptions()
        options.enable_console_logger = False
        options.system_log_path = str(log)
        libspu.logging.setup_logging(options)
        self._log = log
        self._read = 0
        self._settings = settings
        config = engine_config(settings, FIELD_BITS)
        self._runtimes = {FIELD_BITS: spu.Runtime(link, config)}
        self._io = spu.Io(len(PARTIES), config)

    def add_ring(self, bits: int) -> None:
        """Make ready to compute in the ring of `bits` too; both parties at the same place."""
        if bits not in self._runtimes:
            self._runtimes[bits] = spu.Runtime(self.link.spawn(), engine_config(self._settings, bits))

    def own(self, name: str, array: np.ndarray, owner: int) -> None:
        """Make `array` a value. It is `owner`'s secret: the other party gives zeros of its shape, and nothing is sent.

        The engine holds it as private to its owner, and multiplies by it without ever sharing it out.
        """
        shares = self._io.make_shares(np.ascontiguousarray(array), libspu.Visibility.VIS_SECRET, owner)
        self._runtimes[FIELD_BITS].set_var(name, shares[self.rank])

    def forget(self, name: str, bits: int = FIELD_BITS) -> None:
        self._runtimes[bits].del_var(name)

    def narrow(self, name: str) -> None:
        """Let the 32-bit ring know this number too."""
        self._runtimes[32].set_var(name, low_half(self._runtimes[FIELD_BITS].get_var(name)))

    def widen(self, name: str) -> None:
        """Carry this bit from the 32-bit ring to the 64-bit one."""
        self._runtimes[FIELD_BITS].set_var(name, zero_extended(self._runtimes[32].get_var(name)))
        self.forget(name, 32)

    def compile(
        self,
        function: Callable[..., Array],
        inputs: Sequence[str],
        forms: Sequence[Form],
        output: str,
        known: tuple[bytes, Form] | None = None,
    ) -> tuple[libspu.Executable, Form]:
        """What runs `function`, from these values to `output`, and the form of that.

        `known` are the code and the form of the same function with other names.
        """
        if known is not None:
            code, form = known
            return libspu.Executable(name=output, input_names=list(inputs), output_names=[output], code=code), form
        empty = [np.zeros(form.shape, form.dtype) for form in forms]
        secret = [libspu.Visibility.VIS_SECRET] * len(inputs)
        done = frontend.compile(frontend.Kind.JAX, function, empty, {}, list(inputs), secret, lambda _: [output])
        made = jax.eval_shape(function, *empty)
        return done[0], Form(made.shape, str(made.dtype))

    def run(self, executable: libspu.Executable, bits: int = FIELD_BITS) -> Cost:
        """Run it together with the other party, and measure; its rounds are messages, see `settle_rounds`."""
        began = time.perf_counter()
        self._runtimes[bits].run(executable)
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
        share = self._runtimes[FIELD_BITS].get_var(name)
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
