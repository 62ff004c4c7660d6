"""The link between two parties: encrypted where asked, and left in time when the other side hangs or babbles."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.forked import Forked
from support.running import start
from support.secure_runs import SCRIPT, Files, both_parties, needs_engine, read

from private_inference.costs.measurement import free_ports
from private_inference.costs.pins import PinnedPrograms

pytestmark = [needs_engine, pytest.mark.slow]

PATIENCE = 240


@contextmanager
def both(files: Files, folder: Path, client: str, server: str) -> Iterator[dict]:
    """A client and a server, and by "peer" the server's address."""
    own, other = free_ports(2)
    options = {
        "client": f"--protocol semi2k --dataset digits --images 2 {client}",
        "server": f"--protocol semi2k --path {files['masked']} {server}",
    }
    with both_parties(folder, options, {"client": own, "server": other}) as processes:
        yield processes | {"peer": f"127.0.0.1:{other}"}


def ended(process: Forked) -> tuple[int, str]:
    """Its status, and the line that says what is wrong."""
    output = process.communicate(timeout=PATIENCE)[0].replace("\r", "\n")
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    return process.returncode, " ".join(lines)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """ca.pem, which signed client.pem and server.pem; and other.pem, which nobody did."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=folder, capture_output=True, check=True)

    for name in ("ca", "other"):
        openssl(f"req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}")
    for name in ("client", "server"):
        openssl(f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}")
        openssl(f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out {name}.pem")
    return folder


def tls(folder: Path, name: str) -> str:
    return f"--tls {folder / name}.pem {folder / name}.key {folder / 'ca.pem'}"


def test_two_parties_of_one_authority_talk_in_private(files, certificates, tmp_path) -> None:
    with both(files, tmp_path, tls(certificates, "client"), tls(certificates, "server")) as parties:
        said = {role: ended(parties[role]) for role in ("client", "server")}
    assert said == {"client": (0, ""), "server": (0, "")}
    results = read(tmp_path / "private_inference" / "client")
    assert results["engine"]["tls"] is True
    assert PinnedPrograms(str(tmp_path)).digest_of(parties["peer"]) == results["measured"][0]["digest"]


@pytest.mark.parametrize("client", ["other", None])
def test_who_is_not_of_the_authority_is_not_talked_to(files, certificates, tmp_path, client: str | None) -> None:
    options = f"{tls(certificates, client) if client else ''} --timeout 12"
    with both(files, tmp_path, options, f"{tls(certificates, 'server')} --timeout 12") as parties:
        said = {role: ended(parties[role]) for role in ("client", "server")}
    for role, (status, line) in said.items():
        assert status == 2
        assert line.startswith(f"error: {role}: no other party at ")
    assert not (tmp_path / "private_inference" / "client" / "private_inference.json").exists()


def test_a_server_with_another_program_is_refused(files, tmp_path) -> None:
    pins = PinnedPrograms(str(tmp_path))
    with both(files, tmp_path, "", "") as parties:
        pins.pin(parties["peer"], "0" * 64)  # what was met there before
        said = {role: ended(parties[role]) for role in ("client", "server")}
    assert [status for status, _ in said.values()] == [2, 2]
    assert f"{'0' * 64} was expected; nothing was sent" in said["client"][1]
    assert "the client does not agree to this program" in said["server"][1]


def test_a_peer_that_hangs_is_given_up(files, tmp_path) -> None:
    with both(files, tmp_path, "--timeout 10 --images 300", "--timeout 10") as parties:
        while not (found := children(parties["server"].pid)):
            time.sleep(0.1)
        time.sleep(8)  # wherever it is by now
        for process in found:
            os.kill(process, signal.SIGSTOP)
        try:
            status, line = ended(parties["client"])
        finally:
            for process in found:
                os.kill(process, signal.SIGKILL)
    assert status == 2
    assert line.startswith("error: client: ")


def children(parent: int) -> list[int]:
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True, check=False)
    return [int(word) for word in found.stdout.split()]


def test_a_peer_that_babbles_is_left(tmp_path) -> None:
    """Whatever answers at the address, such as a web server, is no party of ours."""
    (own,) = free_ports(1)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=babble, args=(listening,), daemon=True).start()
        process = start(
            f"{SCRIPT} --role client --dataset digits --protocol semi2k --timeout 6 --save_dir {tmp_path} "
            f"--listen 127.0.0.1:{own} --peer 127.0.0.1:{listening.getsockname()[1]}"
        )
        status, line = ended(process)
    assert status == 2
    assert line.startswith("error: client: no other party at ")


def babble(listening: socket.socket) -> None:
    while True:
        try:
            connection, _ = listening.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" + bytes(range(256)) * 8)
            connection.close()
        except OSError:
            return
