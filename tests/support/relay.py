"""What went over the wire: a TCP relay that keeps every byte, and a search for a secret in what it kept."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

TABLE_BITS = 24


class Relay:
    """Stands before one party's port: `with Relay(target) as relay:` and the other party dials `relay.port`.

    `received` is what the target was sent through here, a stream for each connection.
    """

    def __init__(self, target: int):
        self.target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._streams: dict[int, bytearray] = defaultdict(bytearray)
        self._open: list[socket.socket] = []

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._server, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    @property
    def received(self) -> list[bytes]:
        return [bytes(stream) for stream in self._streams.values()]

    def _accept(self) -> None:
        number = 0
        with suppress(OSError):  # the end of the test closes the server
            while True:
                caller, _ = self._server.accept()
                try:
                    target = socket.create_connection(("127.0.0.1", self.target), timeout=10)
                except OSError:  # not yet there: the caller tries again
                    caller.close()
                    continue
                target.settimeout(None)
                self._open += [caller, target]
                number += 1
                for ends in ((caller, target, self._streams[number]), (target, caller, None)):
                    threading.Thread(target=self._carry, args=ends, daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
        with suppress(OSError):
            while part := source.recv(1 << 16):
                if kept is not None:
                    kept += part
                sink.sendall(part)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def stretches_found(streams: Sequence[bytes], *secrets: np.ndarray) -> int:
    """How many stretches of 16 bytes of the secrets (float32 or int64, from any element) occur anywhere in the streams.

    A stretch with eight zero bytes at its start or end is not looked for: those are everywhere.
    """
    pairs = []
    for secret in secrets:
        content = np.ascontiguousarray(secret).tobytes()
        pairs += [_pairs(content[offset:]) for offset in range(0, 8, secret.itemsize)]
    wanted = np.concatenate(pairs)
    wanted = wanted[(wanted != 0).all(axis=1)]
    known = set(map(tuple, wanted.tolist()))
    # A table of what could be, so that almost nothing has to be looked up in earnest.
    possible = np.zeros(1 << TABLE_BITS, dtype=bool)
    possible[_hash(wanted)] = True
    found: set[tuple[int, int]] = set()
    for stream in streams:
        for offset in range(8):
            pairs = _pairs(stream[offset:])
            found |= known.intersection(map(tuple, pairs[possible[_hash(pairs)]].tolist()))
    return len(found)


def _pairs(content: bytes) -> np.ndarray:
    """Every eight bytes of `content` with the eight that follow: int64 (N, 2)."""
    values = np.frombuffer(content[: len(content) // 8 * 8], dtype="<i8")
    return np.stack([values[:-1], values[1:]], axis=1) if len(values) > 1 else np.zeros((0, 2), dtype=np.int64)


def _hash(pairs: np.ndarray) -> np.ndarray:
    mixed = pairs.astype(np.uint64) * np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F], dtype=np.uint64)
    return (mixed.sum(axis=1, dtype=np.uint64) >> np.uint64(64 - TABLE_BITS)).astype(np.int64)
