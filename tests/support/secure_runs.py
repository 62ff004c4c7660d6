"""Checkpoints for tests of private inference, and how its commands are run and read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dataset import dataset_spec
from formats.checkpoint import Checkpoint
from helper.checkpoint import save_checkpoint
from models import build_model
from models.layers import Network, relu_sites
from models.restore import describe_model
from private_inference.engine.parties import ENGINE_PYTHON
from support.forked import Forked
from support.networks import randomise_norms
from support.running import finish, start

needs_engine = pytest.mark.skipif(not ENGINE_PYTHON.is_file(), reason="private inference needs its engine: make pi")

DIGITS = dataset_spec("digits")
BRANCH = 1
EMPTY = "layer2.0.relu1"
LOGIT_ERROR = 5e-3
SCRIPT = "measure_private_inference.py"
PATIENCE = 400  # seconds


@dataclass(frozen=True, eq=False)
class Files:
    """Two networks of the same weights and two branches: all-ReLU, and masked with a site that keeps none."""

    folder: Path
    models: dict[str, Network]

    def __getitem__(self, name: str) -> Path:
        return self.folder / f"{name}.pth"


def make_files(folder: Path) -> Files:
    models = {}
    for name in ("full", "masked"):
        torch.manual_seed(0)
        model = build_model("resnet8", num_classes=10, image_size=32, branches=2, mean=DIGITS.mean, std=DIGITS.std)
        randomise_norms(model)
        if name == "masked":
            for layer, site in relu_sites(model).items():
                site.set_mask(torch.rand(site.map_shape) < (0 if layer == EMPTY else 0.1))
        more = {"dataset": "digits", "trained_branches": [0, BRANCH]}
        save_checkpoint(folder / f"{name}.pth", Checkpoint(**describe_model("resnet8", model.eval()), **more))
        models[name] = model
    return Files(folder, models)


@contextmanager
def both_parties(
    folder: Path, options: Mapping[str, str], ports: Mapping[str, int], peers: Mapping[str, int] | None = None
) -> Iterator[dict[str, Forked]]:
    """By role, a command for each party with `options` of its own, its results in `folder`.

    `ports`: where each listens; `peers`: where it thinks that the other one does.
    """
    peers = peers or {"client": ports["server"], "server": ports["client"]}
    processes = {
        role: start(
            f"{SCRIPT} --role {role} --listen 127.0.0.1:{ports[role]} --peer 127.0.0.1:{peers[role]} {own} "
            f"--save_dir {folder} --run_name {role}"
        )
        for role, own in options.items()
    }
    try:
        yield processes
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def measure(options: str) -> str:
    return finish(start(f"{SCRIPT} {options}"), timeout=PATIENCE)


def read(folder: Path) -> dict:
    return json.loads((folder / "private_inference.json").read_text())
