"""What torchrun leaves in the environment, and what somebody else does: one line, and nobody waits for ever."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import torch.distributed as dist
from support.running import fails

from helper import processes
from helper.errors import UserError
from helper.processes import start_processes

NAMES = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_USE_AGENT_STORE")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int):
    """environment(settings) leaves these alone: 'WORLD_SIZE=2 RANK=1', where PORT is a free one."""

    def leave(settings: str) -> None:
        for name in NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, _, value in (word.partition("=") for word in settings.split()):
            monkeypatch.setenv(name, value.replace("PORT", str(unused_tcp_port)))
        monkeypatch.setenv("RLNET_RENDEZVOUS_SECONDS", "1")

    return leave


HERE = "MASTER_ADDR=127.0.0.1 MASTER_PORT=PORT"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ("WORLD_SIZE=two", "WORLD_SIZE=two in the environment is no whole number from 1 to 65536"),
        ("WORLD_SIZE=0", "WORLD_SIZE=0"),
        ("WORLD_SIZE=-1", "WORLD_SIZE=-1"),
        ("WORLD_SIZE=2.0", r"WORLD_SIZE=2\.0"),
        (f"WORLD_SIZE={10**30}", r"WORLD_SIZE=1000+ in"),
        ("RANK=1", "RANK=1 in the environment is no whole number from 0 to 0"),
        ("RANK=x", "RANK=x"),
        ("LOCAL_RANK=x", "LOCAL_RANK=x"),
        ("LOCAL_RANK=1", "LOCAL_RANK=1"),
        (f"WORLD_SIZE=2 {HERE}", "RANK is not set, but WORLD_SIZE is"),
        (f"WORLD_SIZE=2 RANK=2 {HERE}", "RANK=2 in the environment is no whole number from 0 to 1"),
        (f"WORLD_SIZE=2 RANK=-1 {HERE}", "RANK=-1"),
        (f"WORLD_SIZE=2 RANK=0 LOCAL_RANK=7 {HERE}", "LOCAL_RANK=7"),
        ("WORLD_SIZE=2 RANK=0 MASTER_PORT=PORT", "MASTER_ADDR is not set"),
        ("WORLD_SIZE=2 RANK=0 MASTER_ADDR=127.0.0.1", "MASTER_PORT is not set"),
        ("WORLD_SIZE=2 RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=http", "MASTER_PORT=http"),
        ("WORLD_SIZE=2 RANK=0 MASTER_ADDR=127.0.0.1 MASTER_PORT=65536", "MASTER_PORT=65536 .* from 1 to 65535"),
        ("WORLD_SIZE=2 RANK=0 MASTER_ADDR=nowhere.invalid MASTER_PORT=PORT", "MASTER_ADDR=nowhere.invalid is no known"),
        (f"WORLD_SIZE=2 RANK=0 MASTER_ADDR={'x' * 70} MASTER_PORT=PORT", "MASTER_ADDR=x+ is no known host"),
        (f"WORLD_SIZE=2 RANK=1 {HERE}", r"nobody answered at MASTER_ADDR=127\.0\.0\.1, MASTER_PORT=\d+ within 1 s"),
        (f"WORLD_SIZE=2 RANK=0 TORCHELASTIC_USE_AGENT_STORE=True {HERE}", "nobody answered at"),
        (f"WORLD_SIZE=4 RANK=0 {HERE}", r"waited 1 s at 127\.0\.0\.1:\d+ for process 1, 2, 3 of the 4 of WORLD_SIZE"),
        (f"TORCHELASTIC_RESTART_COUNT=x WORLD_SIZE=2 RANK=0 {HERE}", "TORCHELASTIC_RESTART_COUNT=x"),
    ],
)
def test_an_environment_that_cannot_be_is_one_line(settings, line, environment, capfd):
    environment(settings)
    with pytest.raises(UserError, match=line):
        start_processes("cpu")
    assert capfd.readouterr().err == ""  # torch's own warnings among it


@pytest.fixture
def taken(unused_tcp_port: int) -> Iterator[int]:
    """A port on which somebody listens who says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", unused_tcp_port))
        server.listen()
        yield unused_tcp_port


def test_a_port_that_is_taken_is_one_line(environment, taken):
    environment(f"WORLD_SIZE=2 RANK=0 {HERE}")
    with pytest.raises(UserError, match=f"MASTER_PORT={taken}: Address already in use; choose another port"):
        start_processes("cpu")
    environment(f"WORLD_SIZE=2 RANK=1 {HERE}")
    with pytest.raises(UserError, match=r"what answers at .* is no process of this run"):
        start_processes("cpu")


@pytest.mark.timeout(60)
def test_two_processes_of_one_rank_are_one_line(environment):
    """Of three, those that say they are process 0 and 1 wait for the third; a second process 1 is told at once."""
    environment(f"WORLD_SIZE=3 RANK=0 {HERE}")
    said: list[str] = []

    def meet(rank: int) -> None:
        try:
            processes.meeting_place(rank, 3)
        except UserError as error:
            said.append(str(error))
        except dist.DistNetworkError:  # process 0, and with it the place to meet, has ended first
            pass

    threads = [threading.Thread(target=meet, args=(rank,)) for rank in (0, 1, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "RANK=1: another process of the run" in said[0]
    assert "for process 2 of the 3" in said[1]


@pytest.mark.slow
def test_a_script_says_whom_it_waited_for(environment):
    environment(f"WORLD_SIZE=2 RANK=0 {HERE}")
    assert "for process 1 of the 2" in fails("train_teacher.py --model resnet8 --dataset digits")
