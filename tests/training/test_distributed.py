"""Two gloo processes compute what one does: losses, gradients, statistics, masks; and they fail together."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as multiprocessing
from support.networks import feature_gap

from attacks.attack import AttackSettings
from distiller_zoo.modes import Weights
from helper import processes as process_group
from helper.errors import UserError
from masks.counting import masks_of
from masks.selection import set_random_masks
from models import build_model
from models.layers import relu_sites
from training.meter import EpochMeter
from training.objective import parse_objective
from training.stage import prepare_parallel
from training.step import Task, training_loss

pytestmark = pytest.mark.slow

IMAGES = 12
MODES = {"rslad+ce+attn+augattn": 2, "trades+ce": 1, "ard+advattn": 3}
ATTACKS = {"ard+advattn": "nfgsm"}


def network(seed: int, branches: int):
    torch.manual_seed(seed)
    return build_model("resnet8", num_classes=10, image_size=32, branches=branches)


def whole_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "clean": torch.rand(IMAGES, 3, 32, 32, generator=generator),
        "aug": torch.rand(IMAGES, 3, 32, 32, generator=generator),
        "label": torch.randint(10, (IMAGES,), generator=generator),
        "index": torch.arange(IMAGES) * 7,
    }


def train_step(processes: process_group.Processes, mode: str, branches: int) -> dict:
    """One step of a masked student on this process's rows of the batch."""
    student, teacher = network(1, branches), network(2, branches).eval()
    set_random_masks(student, [200] * len(relu_sites(student)), seed=0)
    objective = parse_objective(mode, augmix=True, attack=True, weights=Weights())
    parallel = prepare_parallel(student, objective, processes, sync_bn=True)
    search = feature_gap(student, 200)
    attack = AttackSettings(ATTACKS.get(mode, "pgd"), 8 / 255, 2 / 255, 2)
    task = Task(processes, student.train(), parallel, objective, attack, teacher.requires_grad_(False), search)
    meter = EpochMeter(processes.device)
    batch = {name: value[processes.rank :: processes.count] for name, value in whole_batch().items()}
    training_loss(task, batch, 0, meter).backward()
    gradients = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    statistics = {name: buffer.clone() for name, buffer in student.named_buffers() if "running" in name}
    search.end_epoch()
    return {
        "means": meter.means(),
        "gradients": gradients,
        "statistics": statistics,
        "masks": {name: mask.clone() for name, mask in masks_of(student).items()},
    }


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = Path(folder, "port").read_text()
    processes = process_group.start_processes("cpu")
    found = {mode: train_step(processes, mode, branches) for mode, branches in MODES.items()}
    found["any"] = (process_group.any_process(rank == 1), process_group.any_process(False))
    found["said"] = process_group.on_main_process(lambda: "by the main one" if rank == 0 else 1 / 0)

    def fail() -> None:
        raise UserError("the disk is full")

    try:
        process_group.on_main_process(fail)
    except UserError as error:
        found["error"] = str(error)
    torch.save(found, f"{folder}/{rank}.pt")
    os._exit(0)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    import socket

    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        (folder / "port").write_text(str(server.getsockname()[1]))
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(rank, str(folder))) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("mode", MODES)
def test_two_processes_train_as_one(mode, ranks):
    alone = train_step(process_group.Processes(0, 1, torch.device("cpu")), mode, MODES[mode])
    for rank in ranks:
        found = rank[mode]
        assert found["means"] == pytest.approx(alone["means"], rel=1e-4, abs=1e-6)
        for kind in ("gradients", "statistics"):
            assert found[kind].keys() == alone[kind].keys()
            for name, value in alone[kind].items():
                torch.testing.assert_close(found[kind][name], value, rtol=5e-3, atol=1e-3 * float(value.abs().max()))


@pytest.mark.parametrize("mode", MODES)
def test_masks_are_the_same_on_both_ranks(mode, ranks):
    first, second = (rank[mode]["masks"] for rank in ranks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    alone = train_step(process_group.Processes(0, 1, torch.device("cpu")), mode, MODES[mode])["masks"]
    agreeing = sum(int((first[name] & alone[name]).sum()) for name in alone)
    # Sums of two halves round otherwise than one sum: positions at the edge of the budget may differ.
    assert agreeing >= 0.99 * sum(int(mask.sum()) for mask in alone.values())


def test_processes_agree_and_fail_together(ranks):
    for rank in ranks:
        assert rank["any"] == (True, False)
        assert rank["said"] == "by the main one"
        assert rank["error"] == "the disk is full"


def test_without_synchronisation_the_statistics_are_local(ranks):
    """The equality above is the work of synchronise_batch_norm: half a batch has other statistics."""
    model = network(1, 1).train()
    half = copy.deepcopy(model)
    model(whole_batch()["clean"])
    half(whole_batch()["clean"][::2])
    name = "bn1.branches.0.running_mean"
    assert not torch.allclose(model.state_dict()[name], half.state_dict()[name], rtol=1e-3)
