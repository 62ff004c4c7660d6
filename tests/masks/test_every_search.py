"""Every search, in every granularity, meets every budget; and they run from the command line with three branches."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from support.plans import save_network
from support.running import run
from support.runs import SMALL

from attacks.pgd import ENTRY as PGD
from distiller_zoo.modes import Weights
from masks.counting import masks_of, relu_counts, relu_totals
from masks.search import Course, searches
from masks.selection import GRANULARITIES, MaskChooser
from models.layers import relu_sites
from models.restore import load_model
from training.meter import EpochMeter
from training.objective import parse_objective
from training.stage import prepare_teacher
from training.step import training_loss

OWN = {"feature_gap": {"view": "adv"}, "snl": {"mu": 1e-5, "rate": 1e-2}, "taylor": {"every": 1}}


@pytest.fixture
def searched(network, make_task, batch):
    """searched(search, chooser) -> a student of three branches after one step and one epoch of that search."""

    def make(name: str, chooser: MaskChooser):
        student, teacher = network(3, seed=1), network(3, seed=2)
        objective = parse_objective("kl+ce", augmix=True, attack=True, weights=Weights())
        task = make_task(student.train(), objective, attack=PGD.settle(8 / 255, 2 / 255, 1), teacher=teacher)
        prepare_teacher(teacher, task.processes)
        chooser.set_random_masks(student, 0)
        task.search = searches()[name].search(student, chooser, Course(1), **OWN[name])
        training_loss(task, batch, 0, EpochMeter(task.processes.device)).backward()
        task.search.after_backward()
        task.search.after_step()
        assert task.search.end_epoch().settled
        task.search.harden()
        return student

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("name", "granularity"), list(product(OWN, GRANULARITIES)))
def test_every_search_meets_every_budget(name, granularity, searched, network):
    sites = relu_sites(network(3))
    parent = {site: torch.rand(module.map_shape) < 0.6 for site, module in sites.items()}
    for share, shared, within in ((0, True, None), (0.09, True, None), (0.37, False, parent), (1, False, None)):
        room = [int(within[site].sum() if within else module.total) for site, module in sites.items()]
        chooser = MaskChooser([int(share * most) for most in room], granularity, shared=shared, parent=within)
        student = searched(name, chooser)
        kept = relu_totals(student)[0]
        unit = {"position": 0, "channel": 32 * 32, "layer": 16 * 32 * 32}[granularity]
        assert abs(kept - chooser.total) <= unit / 2, (share, kept)
        if share in (0, 1):
            assert kept == share * sum(room)
        if granularity == "position" and not shared:
            assert [site.kept for site in relu_sites(student).values()] == list(chooser.budget)
        if within:
            assert not any((mask & ~within[site]).any() for site, mask in masks_of(student).items())


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("odd", [None, "x", [5], {"a": 1}])
def test_a_search_goes_on_from_its_own_record_alone(name, odd, network):
    search = searches()[name].search(network(), MaskChooser([5, 5, 5, 5, 5, 5, 5]), Course(1), **OWN[name])
    state = search.state_dict()
    search.load_state_dict(state, is_main=True)
    for field in state:
        others = {key: value for key, value in state.items() if key != field}
        for damaged in (others, {**others, field: odd}):
            with pytest.raises((ValueError, LookupError)):
                search.load_state_dict(damaged, is_main=True)


@pytest.mark.slow
@pytest.mark.parametrize("search", ["snl", "taylor"])
@pytest.mark.parametrize("granularity", ["position", "channel"])
def test_searches_run_with_three_branches(search, granularity, network, tmp_path):
    teacher = save_network(tmp_path / "teacher.pth", network(3))
    run(
        f"train_student_stage1_multigpu.py --path_t {teacher} --model_s Customresnet8 --relu_budget 9% --use3BN "
        f"--augment_mode augmix --attack_mode pgd --robust_train_mode kl+ce {SMALL} --epochs 3 --mask_freeze_epochs 1 "
        f"--mask_search {search} --mask_granularity {granularity} --taylor_every 2 --save_dir {tmp_path}"
    )
    (best,) = tmp_path.rglob("*_best_ATA2.0.pth")
    model, checkpoint = load_model(best)
    kept, total = relu_totals(model)
    assert abs(kept - int(0.09 * total)) <= (0 if granularity == "position" else 8 * 8 / 2)
    # What the search has shared out, not the profile it began with.
    assert list(checkpoint.budget.layers) == [count.kept for count in relu_counts(model)]
    assert list(checkpoint.trained_branches) == [0, 1, 2]
