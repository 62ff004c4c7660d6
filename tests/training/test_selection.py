"""What every epoch is judged by: all images clean, some or all of them under attack, whoever shares them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attacks.attack import AttackSettings
from dataset import dataset_spec
from dataset.options import DataSettings
from distiller_zoo.modes import Weights
from evaluation.data import evenly_spaced
from helper.processes import Processes
from training.data import Loaders, training_loaders
from training.judging import judge
from training.objective import parse_objective

CPU = torch.device("cpu")
PGD = AttackSettings("pgd", 8 / 255, 2 / 255, 1)


def loaders(
    attacked: int | None, data_on: str = "device", rank: int = 0, count: int = 1, select_on="heldout"
) -> Loaders:
    images = DataSettings("", True, 64, 0, select_on, limit_train_batches=1, data_on=data_on)
    processes = Processes(rank, count, CPU)
    return training_loaders(dataset_spec("digits"), images, processes, ("clean", "adv"), seed=1, attacked=attacked)


def test_chosen_images_are_evenly_spaced():
    indices = np.arange(100, 200)
    assert evenly_spaced(indices, 4).tolist() == [100, 125, 150, 175]
    assert evenly_spaced(indices, 1).tolist() == [100]
    assert np.unique(evenly_spaced(indices, 99)).size == 99
    for all_of_them in (None, 100, 1000):
        assert evenly_spaced(indices, all_of_them) is indices


@pytest.mark.parametrize("data_on", ["workers", "device"])
@pytest.mark.parametrize("select_on", ["heldout", "test"])
def test_all_images_are_one_loader_and_some_another(data_on, select_on):
    whole = loaders(None, data_on, select_on=select_on)
    assert whole.attacked_selection is whole.selection  # whose workers would be there twice
    assert (whole.selection is whole.test) == (select_on == "test")
    some = loaders(30, data_on, select_on=select_on)
    chosen, judged = (
        torch.cat([batch["index"] for batch in loader]) for loader in (some.attacked_selection, some.selection)
    )
    assert chosen.tolist() == evenly_spaced(judged.numpy(), 30).tolist()


@pytest.mark.parametrize("data_on", ["workers", "device"])
def test_two_processes_judge_as_one(data_on, network, make_task):
    student = network(2)
    objective = parse_objective("pgd", augmix=False, attack=True, weights=Weights())
    task = make_task(student, objective)

    def judged(rank: int, count: int) -> dict:
        found = loaders(33, data_on, rank, count)
        return judge(task, student, found, PGD, seed=1)

    whole, *parts = judged(0, 1), judged(0, 2), judged(1, 2)
    assert whole["attacked_images"] == sum(part["attacked_images"] for part in parts) == 33
    assert whole["images"] == sum(part["images"] for part in parts) > 100
    for metric, images, branches in (("CA", "images", "01"), ("AdvA", "attacked_images", "1")):
        assert list(whole[metric]) == list(branches)
        for branch in branches:
            hits = sum(part[metric][branch] * part[images] for part in parts)
            assert whole[metric][branch] == pytest.approx(hits / whole[images])
