"""The small networks and batches that all tests share."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

from helper.processes import Processes
from models import build_model
from models.layers import Network
from support.networks import randomise_norms
from support.zoos import add_to_zoo, save_digits_network
from training.objective import Objective
from training.stage import prepare_parallel
from training.step import Task


@pytest.fixture
def network():
    """network(branches, seed) -> resnet8 for 32-pixel images of 10 classes, with random batch-norm branches."""

    def build(branches: int = 1, seed: int = 0) -> Network:
        torch.manual_seed(seed)
        model = build_model("resnet8", num_classes=10, image_size=32, branches=branches)
        randomise_norms(model)
        return model

    return build


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(7)
    return {
        "clean": torch.rand(6, 3, 32, 32, generator=generator),
        "aug": torch.rand(6, 3, 32, 32, generator=generator),
        "label": torch.randint(10, (6,), generator=generator),
        "index": torch.arange(6),
    }


@pytest.fixture
def make_task():
    def make(student: Network, objective: Objective, **more) -> Task:
        processes = Processes(0, 1, torch.device("cpu"))
        return Task(
            processes, student, prepare_parallel(student, objective, processes, sync_bn=True), objective, **more
        )

    return make


@pytest.fixture
def empty_zoo(tmp_path, monkeypatch) -> Path:
    """The folder that 'zoo:NAME' means in this test, and in the scripts that it starts."""
    folder = tmp_path / "zoo"
    monkeypatch.setenv("RLNET_ZOO", str(folder))
    return folder


@pytest.fixture
def zoo(empty_zoo, tmp_path):
    """zoo(name) -> file of a new network of the zoo: the name 'student' makes it one."""

    def add(name: str) -> Path:
        file = save_digits_network(tmp_path / "trained" / f"{name}.pth", kept=200 if name == "student" else None)
        add_to_zoo(f"{file} --name {name}")
        return empty_zoo / f"{name}.pth"

    return add


@pytest.fixture
def unused_tcp_port() -> int:
    """A free port, whose successor is very likely free too."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
