"""--amp auto on a CPU: by a measurement that touches nothing, and is said once."""

from __future__ import annotations

import copy
from itertools import accumulate, count

import pytest
import torch
from support.runs import ALONE

from helper.processes import Processes
from training import acceleration
from training.acceleration import bf16_gain, timed_precision


@pytest.mark.parametrize(("gain", "amp", "words"), [(1.29, "none", "float32"), (1.31, "bf16", "bfloat16")])
def test_bfloat16_where_it_pays(gain, amp, words, network, monkeypatch, capsys):
    monkeypatch.setattr(acceleration, "bf16_gain", lambda student, images, channels_last: gain)
    assert timed_precision(network(), 128, ALONE, channels_last=False) == amp
    said = capsys.readouterr().out
    assert said.count("note:") == 1
    assert f"{gain:.2f} times as fast" in said
    assert f"training in {words}" in said
    timed_precision(network(), 128, Processes(1, 2, ALONE.device), channels_last=False)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(("batch_size", "processes", "timed"), [(128, 1, 64), (128, 4, 32), (8, 1, 8)])
def test_what_is_timed_fits_where_a_batch_fits(batch_size, processes, timed, network, monkeypatch):
    shapes = []
    monkeypatch.setattr(acceleration, "bf16_gain", lambda student, images, **_: shapes.append(images.shape) or 1.0)
    timed_precision(network(), batch_size, Processes(0, processes, ALONE.device), channels_last=True)
    assert shapes == [(timed, 3, 32, 32)]


def test_the_gain_is_of_medians_after_a_first_pass_that_does_not_count(network, monkeypatch):
    """float32 and bfloat16 take turns; by this clock the first is slow, and so is one that somebody disturbed."""
    seconds = [100, 1, 3, 1, 3, 100, 6, 2]
    ticks = accumulate(part for second in seconds for part in (0, second))
    monkeypatch.setattr(acceleration, "perf_counter", lambda: next(ticks))
    assert bf16_gain(network(), torch.rand(2, 3, 32, 32)) == 3 / 2


def test_the_measurement_touches_nothing(network, monkeypatch):
    monkeypatch.setattr(acceleration, "perf_counter", count().__next__)
    student = network(branches=2).train()
    student.conv1.weight.requires_grad_(False)
    before, modes = copy.deepcopy(student.state_dict()), [module.training for module in student.modules()]
    random_state = torch.get_rng_state()
    timed_precision(student, 4, ALONE, channels_last=False)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert [module.training for module in student.modules()] == modes
    assert all(parameter.grad is None for parameter in student.parameters())
    assert not student.conv1.weight.requires_grad
    assert student.conv1.weight.is_contiguous()
