"""Searches that put gates or hooks into the student are recorded like the default one, and give the same scores."""

from __future__ import annotations

import pytest
import torch
from support.tape import TapeRecorder

from attacks.pgd import ENTRY as PGD
from distiller_zoo.modes import Weights
from helper.processes import Processes
from masks.search import Course
from masks.selection import MaskChooser
from masks.snl import SNLSearch
from masks.taylor import TaylorSearch
from models.layers import relu_sites
from training.graphs import WARM_UPS
from training.meter import EpochMeter
from training.objective import parse_objective
from training.stage import prepare_parallel, prepare_teacher
from training.step import Task
from training.update import Update

SEARCHES = {"snl": (SNLSearch, {"mu": 1e-5, "rate": 1e-3}), "taylor": (TaylorSearch, {"every": 100})}


def train(search: str, recorder, network, steps: int):
    processes = Processes(0, 1, torch.device("cpu"))
    student, teacher = network(2, seed=1), network(2, seed=2)
    objective = parse_objective("rslad+ce", augmix=True, attack=True, weights=Weights())
    parallel = prepare_parallel(student, objective, processes, sync_bn=True)
    prepare_teacher(teacher, processes)
    kind, own = SEARCHES[search]
    chooser = MaskChooser([500] * len(relu_sites(student)), shared=True)
    attack = PGD.settle(8 / 255, 2 / 255, 1)
    task = Task(processes, student.train(), parallel, objective, attack, teacher)
    task.search = kind(student, chooser, Course(9), **own)
    optimizer = torch.optim.SGD([p for p in student.parameters() if p.requires_grad], lr=0.1, fused=True)
    update = Update(task, optimizer, EpochMeter(processes.device), recorder=recorder)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        images = (torch.rand(4, 3, 32, 32, generator=generator) for _ in range(2))
        batch = dict(zip(("clean", "aug"), images, strict=True))
        batch |= {"label": torch.randint(10, (4,), generator=generator), "index": torch.arange(4)}
        update(batch, 0, 0.05)
    return task.search.scores()


@pytest.mark.slow
@pytest.mark.parametrize("search", SEARCHES)
def test_a_recorded_search_is_the_search(search, network):
    recorder = TapeRecorder()
    plain, recorded = (train(search, kind, network, WARM_UPS + 3) for kind in (None, recorder))
    assert recorder.replays == 2
    for name, score in plain.items():
        assert torch.equal(score, recorded[name]), name
