"""A slow network between two processes of one machine: a namespace each, and between them a link of given speed.

What crosses is delayed and rationed for real, packet by packet, so that a measured time holds everything that an
estimate leaves out: acknowledgements, TCP's slow start, what overlaps and what does not. The link is a pair of TUN
devices and a thread that carries packets from one to the other, for the kernel's own delay (netem) is a module that
many machines lack. It needs root, the `ip` command and /dev/net/tun.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections import deque

from helper.errors import UserError
from private_inference.costs.link import Network

HOSTS = ("10.77.0.1", "10.77.0.2")  # of the client and of the server; private to the two namespaces
MTU = 9000  # jumbo frames: a sixth of the packets to carry
TUN = "/dev/net/tun"
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


class EmulatedLink:
    """`with EmulatedLink(network) as link:` gives link.prefix(0) and (1), the words before a command that run it in
    the client's and the server's namespace; they reach each other at HOSTS. Everything is taken down at the end.

    Raises UserError where this machine does not allow it.
    """

    def __init__(self, network: Network):
        self.network = network
        self.names = tuple(f"rlnet-{side}-{os.getpid()}" for side in ("client", "server"))
        self.devices: list[int] = []
        self._stop, self._wake = os.pipe()
        self._carrier = threading.Thread(target=self._carry, daemon=True)

    def prefix(self, rank: int) -> list[str]:
        return ["ip", "netns", "exec", self.names[rank]]

    def __enter__(self) -> EmulatedLink:
        if sys.platform != "linux" or os.geteuid() != 0:
            raise UserError(
                "--emulate makes network namespaces: Linux and root only; --network alone gives an estimate"
            )
        if shutil.which("ip") is None:
            raise UserError("--emulate needs the command ip (package iproute2); --network alone gives an estimate")
        try:
            for rank, name in enumerate(self.names):
                _ip("netns", "add", name)
                self.devices.append(_open_tun(f"rlnet{rank}"))
                inside = ("-n", name)
                _ip("link", "set", f"rlnet{rank}", "netns", name)
                _ip(*inside, "addr", "add", f"{HOSTS[rank]}/30", "dev", f"rlnet{rank}")
                _ip(*inside, "link", "set", f"rlnet{rank}", "mtu", str(MTU), "up")
                _ip(*inside, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__()
            raise
        self._carrier.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._wake, b"x")
        if self._carrier.is_alive():
            self._carrier.join()
        for device in (*self.devices, self._stop, self._wake):
            os.close(device)
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    def _carry(self) -> None:
        """Take packets from each device and hand them to the other when their time has come."""
        bytes_per_second, delay = self.network.bandwidth / 8, self.network.rtt / 2
        waiting: list[deque[tuple[float, bytes]]] = [deque(), deque()]  # by the device that sent it
        free = [0.0, 0.0]  # when the wire in that direction has sent all it was given
        while True:
            due = [queue[0][0] for queue in waiting if queue]
            left = max(0.0, min(due) - time.monotonic()) if due else None
            readable, _, _ = select.select([*self.devices, self._stop], [], [], left)
            if self._stop in readable:
                return
            for source in (0, 1):
                if self.devices[source] in readable:
                    for packet in _packets(self.devices[source]):
                        free[source] = max(free[source], time.monotonic()) + len(packet) / bytes_per_second
                        waiting[source].append((free[source] + delay, packet))
                while waiting[source] and waiting[source][0][0] <= time.monotonic():
                    _deliver(self.devices[1 - source], waiting[source].popleft()[1])


def _packets(device: int) -> list[bytes]:
    """What lies ready, a bounded number of packets so that the other direction has its turn."""
    found = []
    for _ in range(64):
        try:
            found.append(os.read(device, MTU + 64))
        except BlockingIOError:
            break
    return found


def _deliver(device: int, packet: bytes) -> None:
    try:
        os.write(device, packet)
    except OSError as error:
        # A device that is full or going down loses packets, as a real one does; TCP sends them again.
        if error.errno not in (errno.EAGAIN, errno.EIO, errno.ENOBUFS):
            raise


def _open_tun(name: str) -> int:
    import fcntl  # Unix alone has it

    device = None
    try:
        device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError as error:
        if device is not None:
            os.close(device)
        raise UserError(f"--emulate cannot make a TUN device ({error}); --network alone gives an estimate") from error
    return device


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().partition("\n")[0]
        raise UserError(f"--emulate: ip {' '.join(words)} failed: {reason}; --network alone gives an estimate")
