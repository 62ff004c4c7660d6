"""How a party ends before its time: with one line of its own, and never without the other party's knowing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from helper.errors import UserError
from private_inference.engine.protocols import peer_has_ended
from private_inference.engine.spu_runtime import Link

STOPPED = "stopped by a signal (SIGTERM)"
HEARD = "heard"
STOPPED_STATUS = 128 + signal.SIGTERM


class Disagreement(UserError):
    """The parties do not run the same thing, and both of them have heard why."""


def complain(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)


def leave(message: str, status: int = 2) -> None:
    """End at once: the engine's threads may be waiting for a peer that will never answer."""
    complain(message)
    os._exit(status)


@contextmanager
def parting(link: Link) -> Iterator[Link]:
    """On a disagreement, say why, and end when the other party has heard too.

    Messages are sent in the background, and a process that ends takes those along that wait. Our own line comes first,
    for the engine ends a process whose last message finds the other one gone.
    """
    try:
        yield link
    except Disagreement as error:
        complain(str(error))
        with suppress(RuntimeError):  # the other one does not answer
            link.stop_link()
        os._exit(2)


class PeerWatch:
    """Ends this process with one line when the other party's process is gone: the engine itself would wait for it."""

    INTERVAL = 1.0  # seconds
    STRIKES = 3  # refusals in a row

    def __init__(self, address: str):
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._name = address
        self._done = threading.Event()

    def __enter__(self) -> PeerWatch:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()

    def _watch(self) -> None:
        refused = 0
        while not self._done.wait(self.INTERVAL):
            try:
                socket.create_connection(self._address, timeout=self.INTERVAL).close()
                refused = 0
            except ConnectionRefusedError:
                refused += 1
            except OSError:  # slow or unreachable for now: the engine's timeout decides
                refused = 0
            if refused == self.STRIKES and not self._done.is_set():
                leave(peer_has_ended(self._name))


class StopSignal:
    """On SIGTERM, tell the other party and end, whatever the engine is busy with meanwhile.

    A handler would wait for the engine's turn to end. Ctrl-C is left to the process that started this one: a terminal
    sends it to both.
    """

    GRACE = 3.0  # seconds for a last word to be heard

    def __init__(self) -> None:
        self._channel: Link | None = None
        self._heard = threading.Event()
        signals, wakes = socket.socketpair()
        wakes.setblocking(False)
        self._pair = signals, wakes
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(wakes.fileno())
        threading.Thread(target=self._await, daemon=True).start()

    def tell(self, link: Link, peer: str) -> None:
        """From here on the other party, at `peer`, is told, and listened to; both parties call this at the same place.

        Over a channel of its own, for on `link` every message has its turn.
        """
        self._channel = link.spawn()
        threading.Thread(target=self._listen, args=(1 - link.rank, peer), daemon=True).start()

    def hear_out(self) -> None:
        """The engine has failed, perhaps because the other party ended: let that one's last word come first."""
        if self._channel is not None:
            time.sleep(self.GRACE)

    def _await(self) -> None:
        self._pair[0].recv(1)
        complain(STOPPED)
        if self._channel is not None:
            threading.Thread(target=self._say, args=(self._channel, STOPPED), daemon=True).start()
            # Not only sent: an engine that finds us gone ends its process, or fails, before anybody reads the message.
            self._heard.wait(self.GRACE)
        os._exit(STOPPED_STATUS)

    def _say(self, channel: Link, word: str) -> None:
        try:
            channel.send(1 - channel.rank, word)
        except RuntimeError:  # the other one is gone already, and will not answer
            self._heard.set()

    def _listen(self, other: int, peer: str) -> None:
        while True:
            try:
                assert self._channel is not None
                word = self._channel.recv(other).decode()
                if word == STOPPED:
                    complain(f"the other party at {peer} was {STOPPED}")
                    self._say(self._channel, HEARD)
                    os._exit(2)
                elif word == HEARD:
                    self._heard.set()
            except (RuntimeError, UnicodeDecodeError):  # nothing within the engine's timeout
                time.sleep(1)


def end_with_parent(folder: str) -> None:
    """Our stdin is a pipe that ends with the process that started us: then nobody waits, or takes the secret away."""
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # the other party's folder may still be beside it
        Path(folder).parent.rmdir()
    os._exit(2)
