"""Stage 2 with sparse weights: what is written of them, resumed bit for bit, and shared by two processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from support.plans import save_network
from support.running import run, run_two, start
from support.runs import SMALL, assert_same_run, log, run_folder, wait_for_step

from masks.selection import set_random_masks
from models import build_model
from models.weights import weights_of_layers

pytestmark = pytest.mark.slow

OPTIONS = f"{SMALL} --attack_mode nfgsm --use2BN --ema 0.9 --amp none --robust_train_mode rslad+ce"
RELUS = [100] * 7
SIZES = {
    name: weight.numel()
    for name, weight in weights_of_layers(build_model("resnet8", num_classes=10, image_size=32)).items()
}


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("origin")
    torch.manual_seed(0)
    teacher, student = (build_model("resnet8", num_classes=10, image_size=32, branches=2) for _ in range(2))
    set_random_masks(student, RELUS, seed=0)
    budget = {"label": "relu0.7k", "layers": RELUS}
    save_network(folder / "teacher.pth", teacher)
    save_network(folder / "student.pth", student, stage=1, budget=budget, tag="rslad")
    return (
        f"train_student_stage2_multigpu.py --path_t {folder}/teacher.pth --path_s_load {folder}/student.pth {OPTIONS} "
        "--model_s Customresnet8 --density 0.1 --growth gradient"
    )


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory) -> Path:
    save_dir = tmp_path_factory.mktemp("whole")
    said = run(f"{command} --epochs 3 --save_dir {save_dir}")
    assert "Sparse weights:" in said
    return run_folder(save_dir)


def test_checkpoints_and_results_say_how_dense_they_are(whole):
    records = log(whole)
    assert [record.get("weights_moved", 0) > 0 for record in records] == [True, True, False]
    results = json.loads((whole / "results.json").read_text())
    kept = sum(round(0.1 * size) for size in SIZES.values())
    assert (results["weights"]["kept"], results["weights"]["total"]) == (kept, sum(SIZES.values()))
    for entry in results["checkpoints"]:
        checkpoint = torch.load(entry["file"], weights_only=True)
        assert checkpoint["density"] == 0.1
        found = {name: int(checkpoint["state_dict"][name].count_nonzero()) for name in SIZES}
        assert sum(found.values()) == kept
        assert {f"{layer['layer']}.weight": layer["kept"] for layer in entry["weights"]["layers"]} == found
        assert [int(mask.sum()) for name, mask in checkpoint["state_dict"].items() if name.endswith("mask")] == RELUS
    assert results["weights"] == results["checkpoints"][0]["weights"]


def test_a_stopped_run_goes_on_bit_for_bit(command, whole, tmp_path):
    process = start(f"{command} --epochs 3 --save_dir {tmp_path} --save_freq 1")
    last = tmp_path / "student_model/stage2" / whole.name / "Customresnet8_stage2_last.pth"
    wait_for_step(process, last, 1, 2)  # of the second epoch, when weights have moved once
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    run(f"{command} --epochs 3 --save_dir {tmp_path} --resume auto")
    assert_same_run(last.parent, whole)
    one, other = (torch.load(folder / last.name, weights_only=True)["optimizer"] for folder in (whole, last.parent))
    for name, kept in one["kept"].items():
        assert torch.equal(kept, other["kept"][name])
        assert torch.equal(one["gradients"][name], other["gradients"][name])


def test_two_processes_move_the_weights_of_one(command, tmp_path, unused_tcp_port):
    """By two steps; at the edge of what is kept, sums that round otherwise may choose otherwise."""
    short = f"{command} --epochs 2 --limit_train_batches 1"
    run(f"{short} --save_dir {tmp_path}/one")
    run_two(f"{short} --save_dir {tmp_path}/two", unused_tcp_port)
    one, two = (
        torch.load(run_folder(tmp_path / name) / "Customresnet8_stage2_last.pth", weights_only=True)["optimizer"][
            "kept"
        ]
        for name in ("one", "two")
    )
    kept = sum(int(mask.sum()) for mask in one.values())
    assert kept == sum(int(mask.sum()) for mask in two.values())
    assert sum(int((mask & two[name]).sum()) for name, mask in one.items()) >= 0.99 * kept
    alone, shared = (log(run_folder(tmp_path / name))[0]["loss"] for name in ("one", "two"))
    assert shared == pytest.approx(alone, rel=1e-4)
