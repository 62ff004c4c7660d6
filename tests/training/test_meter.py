"""Means of an epoch, and the guard against losses that are not finite."""

from __future__ import annotations

import pytest
import torch

from helper.errors import UserError
from training.meter import EpochMeter
from training.schedule import default_decay_epochs, make_schedule


def test_means_and_their_continuation():
    meter = EpochMeter(torch.device("cpu"))
    meter.add("loss", torch.tensor(2.0))
    meter.add("accuracy", torch.tensor(3), 8)
    state = meter.state_dict()
    resumed = EpochMeter(torch.device("cpu"))
    resumed.load_state_dict(state, is_main=True)
    other = EpochMeter(torch.device("cpu"))
    other.load_state_dict(state, is_main=False)
    for each in (meter, resumed):
        each.add("loss", torch.tensor(4.0))
        each.add("accuracy", torch.tensor(1), 8)
        assert each.means() == {"loss": 3.0, "accuracy": 0.25}
    assert other.sums["loss"].tolist() == [0, 0]


def test_the_first_term_that_is_not_finite_is_named():
    meter = EpochMeter(torch.device("cpu"))
    fine, bad = torch.tensor(1.0), torch.tensor(float("nan"))
    meter.watch({"ce_clean": fine, "kl_adv": fine})
    meter.watch({"ce_clean": fine, "kl_adv": bad})
    meter.watch({"ce_clean": bad, "kl_adv": bad})
    with pytest.raises(UserError, match=r"not finite, first in kl_adv;"):
        meter.means()


def test_schedules():
    assert default_decay_epochs(240) == [150, 180, 210]
    common = {"learning_rate": 0.1, "epochs": 10, "decay_epochs": [5, 7.5], "decay_rate": 0.1}
    step = make_schedule("step", **common)
    assert [step(progress) for progress in (0, 4.99, 5, 7.5, 9.9)] == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.001])
    onecycle = make_schedule("onecycle", **common)
    assert onecycle(0) == pytest.approx(0.004)
    assert onecycle(3) == pytest.approx(0.1)
    assert onecycle(10) == pytest.approx(0)
    assert all(onecycle(t / 10) >= onecycle((t + 1) / 10) for t in range(30, 100))
