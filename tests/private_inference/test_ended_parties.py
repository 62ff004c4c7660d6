"""A party that finds nobody, or whose other one is killed or told to stop, ends soon, and says why in one line."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.running import ROOT
from support.secure_runs import SCRIPT, needs_engine

from private_inference.costs.measurement import free_ports

BAR = re.compile(r"\[.*image.*\]$")
PATIENCE = 90  # seconds, many times what any of these takes: whoever is not done by then hangs


def begin(folder: Path, options: str) -> subprocess.Popen:
    """The command in a process of its own, that keeps its parties' folders and its stderr in `folder`."""
    folder.mkdir()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TMPDIR": str(folder)}
    words = [sys.executable, SCRIPT, *shlex.split(options), "--save_dir", str(folder / "save")]
    with open(folder / "stderr", "wb") as errors:
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=errors)


def last_line(process: subprocess.Popen, folder: Path, status: int = 2) -> str:
    """The one line on stderr of a command that must end with this status; a progress bar wipes itself."""
    assert process.wait(PATIENCE) == status
    written = (folder / "stderr").read_text()
    lines = [line.strip() for line in written.replace("\r", "\n").splitlines()]
    lines = [line for line in lines if line and not BAR.search(line)]
    assert len(lines) == 1, written
    return lines[0]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def processes_of(folder: Path) -> list[str]:
    """Those whose command names a file in `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes()
        except OSError:  # it has ended meanwhile
            continue
        if f"{folder}/".encode() in words:
            found.append(entry.parent.name)
    return found


@pytest.mark.slow
@needs_engine
def test_nobody_there(tmp_path) -> None:
    own, other = free_ports(2)
    options = f"--role client --dataset digits --timeout 2 --listen 127.0.0.1:{own} --peer 127.0.0.1:{other}"
    line = last_line(begin(tmp_path / "client", options), tmp_path / "client")
    assert line.startswith(f"error: client: no other party at 127.0.0.1:{other} within 2 s: is it running")
    assert not list((tmp_path / "client").glob("rlnet-pi-*"))


@dataclass(frozen=True, eq=False)
class Talking:
    """The commands of two parties in the middle of their inference."""

    commands: dict[str, subprocess.Popen]
    folders: dict[str, Path]
    addresses: dict[str, str]


@pytest.fixture
def talking(files, tmp_path) -> Iterator[Talking]:
    addresses = dict(zip(("client", "server"), (f"127.0.0.1:{port}" for port in free_ports(2)), strict=True))
    own = {
        "server": f"--peer {addresses['client']} --path {files['masked']}",
        "client": f"--peer {addresses['server']} --dataset digits --images 300 --timeout 60",
    }
    folders = {role: tmp_path / role for role in own}
    commands = {
        role: begin(folders[role], f"--protocol semi2k --role {role} --listen {addresses[role]} {more}")
        for role, more in own.items()
    }
    try:
        wait_for(
            lambda: "inference" in (folders["client"] / "stderr").read_text() or commands["client"].poll() is not None
        )
        yield Talking(commands, folders, addresses)
    finally:
        for process in commands.values():
            process.kill()
            process.wait()


in_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").is_file(), reason="looks for processes in /proc")


@pytest.mark.slow
@needs_engine
@in_proc
def test_a_peer_that_is_killed_in_the_middle(talking) -> None:
    server, folders = talking.commands["server"], talking.folders
    # Its party, an own process with the weights in its folder, is not told; it sees its stdin end.
    (secret,) = folders["server"].glob("rlnet-pi-*/server/program.npz")
    parties = processes_of(folders["server"])
    server.send_signal(signal.SIGKILL)
    line = last_line(talking.commands["client"], folders["client"])
    assert line == (
        f"error: client: the other party at {talking.addresses['server']} has ended; its own last line says why"
    )
    assert len(parties) == 2  # the command, which names its --save_dir there, and the party
    wait_for(lambda: not processes_of(folders["server"]))
    assert not secret.exists()
    assert not processes_of(folders["client"])


@pytest.mark.slow
@needs_engine
@in_proc
@pytest.mark.parametrize(("whom", "status", "own"), [("command", 143, ""), ("party", 2, "server: ")])
def test_a_party_that_is_told_to_stop_tells_the_other(talking, whom, status, own) -> None:
    server, folders = talking.commands["server"], talking.folders
    (party,) = {int(number) for number in processes_of(folders["server"])} - {server.pid}
    os.kill(server.pid if whom == "command" else party, signal.SIGTERM)
    line = last_line(talking.commands["client"], folders["client"])
    assert line == f"error: client: the other party at {talking.addresses['server']} was stopped by a signal (SIGTERM)"
    assert last_line(server, folders["server"], status) == f"error: {own}stopped by a signal (SIGTERM)"
    wait_for(lambda: not processes_of(folders["server"]) and not processes_of(folders["client"]))
