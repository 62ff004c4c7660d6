"""Batches, attack, loss and update keep to the device that they are on, and never wait for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.networks import feature_gap
from support.one_device import META, OneDevice, Slip
from torch import Tensor

from attacks.attack import attacks
from dataset.batches import ShardedBatches, ShardedEval
from dataset.device_loader import DeviceEvalLoader, DeviceTrainLoader, ResidentImages
from dataset.source import ArraySource
from distiller_zoo.modes import Weights
from helper.processes import Processes
from masks.selection import set_random_masks
from models.layers import relu_sites
from training.meter import EpochMeter
from training.objective import parse_objective
from training.stage import prepare_parallel, prepare_teacher
from training.step import Task, training_loss

IN_TRAINING = [name for name, entry in attacks().items() if entry.trains]


@pytest.fixture
def resident() -> ResidentImages:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    return ResidentImages(ArraySource(pixels, np.arange(32) % 10), META)


@pytest.fixture
def task_of(network) -> Callable[[str, str], Task]:
    """task_of(mode, attack) of a masked student on the device, with a search for masks where there is a teacher."""

    def make(mode: str, attack: str) -> Task:
        processes = Processes(0, 1, META)
        student, teacher, search = network(2), None, None
        with_teacher = mode not in ("pgd", "trades")
        objective = parse_objective(mode, augmix=True, attack=True, weights=Weights(), with_teacher=with_teacher)
        set_random_masks(student, [500] * len(relu_sites(student)), seed=0)
        parallel = prepare_parallel(student, objective, processes, sync_bn=True)
        if with_teacher:
            teacher = network(2)
            prepare_teacher(teacher, processes)
            search = feature_gap(student, 500)
        settings = attacks()[attack].settle(8 / 255, 2 / 255, 2)
        return Task(processes, student.train(), parallel, objective, settings, teacher, search)

    return make


def training_batch(resident: ResidentImages) -> dict[str, Tensor]:
    return next(iter(DeviceTrainLoader(resident, range(32), ShardedBatches(32, 8, 0), flip=True, augment="augmix")))


def test_whole_batches_are_made_on_their_device(resident):
    with OneDevice(uploads=True):
        batch = training_batch(resident)
        tested = next(iter(DeviceEvalLoader(resident, ShardedEval(32, 8))))
    assert all(value.device == META for value in (*batch.values(), *tested.values()))


@pytest.mark.parametrize("attack", IN_TRAINING)
@pytest.mark.parametrize("mode", ["pgd", "trades", "rslad+ce+attn+augattn"])
def test_attack_loss_and_gradients_keep_to_their_device(mode, attack, task_of, resident):
    task, meter = task_of(mode, attack), EpochMeter(META)
    batch = training_batch(resident)
    with OneDevice():
        training_loss(task, batch, torch.zeros((), dtype=torch.int64, device=META), meter).backward()
    assert all(weight.grad is not None and weight.grad.device == META for weight in task.student.parameters())


def test_slips_are_seen():
    there, here = torch.ones(3, device=META), torch.ones(())
    for slip in (lambda: there * here, lambda: there.cpu(), lambda: here.to(META), there.sum().item):
        with pytest.raises(Slip), OneDevice():
            slip()
    with OneDevice(uploads=True):
        assert here.to(META).device == META
