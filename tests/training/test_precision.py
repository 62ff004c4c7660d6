"""--amp auto on a CPU: by a measurement that touches nothing, said once, recorded, and kept by a run that goes on."""

from __future__ import annotations

import argparse
import copy
from itertools import accumulate, count
from pathlib import Path

import pytest
import torch

from helper.checkpoint import save_checkpoint
from helper.errors import UserError
from helper.processes import Processes
from models.restore import describe_model
from training import acceleration
from training.acceleration import Acceleration, bf16_gain, settle_precision
from training.fit import Progress
from training.run_folder import RunFolder

ALONE = Processes(0, 1, torch.device("cpu"))
UNSETTLED = Acceleration("cpu", "auto", channels_last=False)


@pytest.mark.parametrize(("gain", "amp", "words"), [(1.29, "none", "float32"), (1.31, "bf16", "bfloat16")])
def test_bfloat16_where_it_pays(gain, amp, words, network, monkeypatch, capsys):
    monkeypatch.setattr(acceleration, "bf16_gain", lambda student, images, channels_last: gain)
    args = argparse.Namespace(amp="auto", batch_size=128)
    assert settle_precision(args, UNSETTLED, network(), ALONE) == Acceleration("cpu", amp, channels_last=False)
    assert args.amp == amp
    said = capsys.readouterr().out
    assert said.count("note:") == 1
    assert f"{gain:.2f} times as fast" in said
    assert f"training in {words}" in said
    settle_precision(args, UNSETTLED, network(), ALONE)  # is decided
    settle_precision(
        argparse.Namespace(amp="auto", batch_size=128), UNSETTLED, network(), Processes(1, 2, ALONE.device)
    )
    assert not capsys.readouterr().out


@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_what_was_asked_for_is_not_timed(amp, network, monkeypatch):
    monkeypatch.delattr(acceleration, "bf16_gain")
    args = argparse.Namespace(amp=amp, batch_size=128)
    assert settle_precision(args, Acceleration("cpu", amp), network(), ALONE).amp == args.amp == amp


@pytest.mark.parametrize(("batch_size", "processes", "timed"), [(128, 1, 64), (128, 4, 32), (8, 1, 8)])
def test_what_is_timed_fits_where_a_batch_fits(batch_size, processes, timed, network, monkeypatch):
    shapes = []
    monkeypatch.setattr(acceleration, "bf16_gain", lambda student, images, **_: shapes.append(images.shape) or 1.0)
    args = argparse.Namespace(amp="auto", batch_size=batch_size)
    settle_precision(args, UNSETTLED, network(), Processes(0, processes, ALONE.device))
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
    settle_precision(argparse.Namespace(amp="auto", batch_size=4), UNSETTLED, student, ALONE)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert [module.training for module in student.modules()] == modes
    assert all(parameter.grad is None for parameter in student.parameters())
    assert not student.conv1.weight.requires_grad
    assert student.conv1.weight.is_contiguous()


def options(resume: str | None, **more) -> argparse.Namespace:
    return argparse.Namespace(resume=resume, amp="auto", ema=None, select_attack_images=None, **more)


@pytest.fixture
def begun(network, tmp_path: Path) -> Path:
    """The last checkpoint of a run from before --ema, whose precision is settled."""
    path = tmp_path / "run/resnet8_last.pth"
    progress = {"epoch": 1, "step": 0, "best": {}, "masks_frozen": True, "calm_epochs": 0, "seconds": 1.0}
    more = {"progress": progress, "args": {"resume": None, "amp": "bf16"}, "epoch": 1}
    save_checkpoint(path, {**describe_model("resnet8", network()), **more})
    return path


@pytest.mark.parametrize("by_name", [True, False])
def test_a_run_that_goes_on_keeps_its_precision(by_name, begun):
    args = options(str(begun) if by_name else "auto")
    run = RunFolder(begun.parent, "resnet8", args, ALONE)
    assert args.amp == "bf16"
    assert Progress(**run.checkpoint["progress"]).overfitted == 0


def test_another_precision_or_one_that_is_unknown_is_refused(begun):
    args = options("auto")
    args.amp = "none"
    with pytest.raises(UserError, match=r"amp is none here and bf16 in .*resnet8_last\.pth"):
        RunFolder(begun.parent, "resnet8", args, ALONE)
    checkpoint = torch.load(begun, weights_only=True)
    del checkpoint["args"]["amp"]  # as before there was the option
    save_checkpoint(begun, checkpoint)
    with pytest.raises(UserError, match=r"amp is auto here and None in"):
        RunFolder(begun.parent, "resnet8", options("auto"), ALONE)


def test_a_run_that_begins_has_nothing_to_keep(tmp_path):
    args = options("auto")
    RunFolder(tmp_path / "run", "resnet8", args, ALONE)
    assert args.amp == "auto"
