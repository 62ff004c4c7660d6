"""The guard names catastrophic overfitting in the epoch in which it happens, and nothing else."""

from __future__ import annotations

import pytest
from support.runs import plan_of

from attacks.attack import attack_named
from distiller_zoo.modes import Weights
from formats.measured import Accuracy
from formats.results import Selected
from training.judging import watch_overfitting
from training.objective import parse_objective
from training.progress import Progress
from training.results import training_results

JUDGE = attack_named("pgd")
# (share under the training attack, % under PGD) of one epoch after the other, and the epoch that is named.
RUNS = {
    "training goes well": ([(0.2, 20), (0.3, 28), (0.35, 33), (0.4, 31)], 0),
    "one step is learnt by heart": ([(0.2, 20), (0.3, 30), (0.6, 12), (0.9, 0)], 3),
    "half of the best is not less than half": ([(0.2, 20), (0.3, 30), (0.6, 15)], 0),
    "it came, and half went again": ([(0.3, 30), (0.6, 1), (0.5, 20), (0.9, 0)], 2),
    "slowly, against the best of all": ([(0.2, 10), (0.3, 30), (0.31, 22), (0.32, 16), (0.33, 14)], 5),
    "both fall: that is divergence": ([(0.2, 20), (0.3, 30), (0.1, 5)], 0),
    "little was withstood to begin with": ([(0.1, 4), (0.2, 0)], 0),
    "nothing was": ([(0.1, 0), (0.2, 0)], 0),
}


@pytest.fixture
def task(network, make_task):
    return make_task(network(2), parse_objective("pgd", augmix=False, attack=True, weights=Weights()))


def watch(task, epochs) -> Progress:
    progress = Progress()
    for progress.epoch, (trained, withstood) in enumerate(epochs, start=1):
        watch_overfitting(task, progress, {"AdvA": {"1": withstood}}, {"accuracy_adv": trained}, JUDGE)
    return progress


@pytest.mark.parametrize("name", RUNS)
def test_what_is_named(name, task, capsys):
    epochs, named = RUNS[name]
    assert watch(task, epochs).overfitted == named
    said = capsys.readouterr().out
    assert said.count("warning: catastrophic overfitting") == bool(named)
    assert f"in epoch {named}:" in said or not named


def test_a_resumed_run_remembers_its_best(task):
    before = watch(task, [(0.2, 20), (0.3, 30)])
    after = Progress(**vars(before))
    after.epoch = 3
    watch_overfitting(task, after, {"AdvA": {"1": 12}}, {"accuracy_adv": 0.6}, JUDGE)
    assert after.overfitted == 3


@pytest.mark.parametrize("name", ["training goes well", "one step is learnt by heart"])
def test_the_results_say_so(name, task):
    epochs, named = RUNS[name]
    accuracy = {"images": 9, "CA": {"0": 80.0, "1": 70.0}, "AdvA": {"0": 1.0, "1": 2.0}}
    plan = plan_of("train_teacher.py --model resnet8 --attack_mode fgsm --use2BN --amp none --device cpu")
    best = Selected(file="best.pth", epoch=1, accuracy=Accuracy(**accuracy))
    results = training_results("train_teacher.py", plan, task, watch(task, epochs), [best])
    assert len(results.warnings) == bool(named)
    assert all("under PGD has fallen" in warning for warning in results.warnings)
    assert all("catastrophic overfitting in epoch 3" in warning for warning in results.warnings)
