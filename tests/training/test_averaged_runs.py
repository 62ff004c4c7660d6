"""Whole runs with N-FGSM and averaged weights: all three stages, resumed, and shared by two processes."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch
from support.running import fails, run, run_two, start
from support.runs import SMALL, assert_same_run, log, run_folder, wait_for_step

pytestmark = pytest.mark.slow

OPTIONS = f"{SMALL} --augment_mode augmix --attack_mode nfgsm --use2BN --ema 0.9 --select_attack_images 10"
TEACHER = f"train_teacher.py --model resnet8 --dataset digits {OPTIONS}"
STUDENT = f"--model_s Customresnet8 --robust_train_mode rslad+ce {OPTIONS}"
STAGE1 = f"train_student_stage1_multigpu.py --relu_budget 12345 --mask_freeze_epochs 1 --epochs 3 {STUDENT}"
STAGE2 = f"train_student_stage2_multigpu.py --dense --epochs 1 {STUDENT}"


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    save_dir = tmp_path_factory.mktemp("teacher")
    run(f"{TEACHER} --epochs 1 --save_dir {save_dir}")
    return run_folder(save_dir)


@pytest.fixture(scope="module")
def stage1(teacher, tmp_path_factory) -> Path:
    """Two epochs that search, one under the frozen mask; the teacher is an average."""
    save_dir = tmp_path_factory.mktemp("stage1")
    run(f"{STAGE1} --path_t {teacher}/resnet8_best_ema_TA0.0.pth --save_dir {save_dir}")
    return run_folder(save_dir)


def load(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_the_average_is_judged_and_saved_beside_the_raw_weights(stage1):
    names = ["TA0.0", "ATA1.0", "ema_TA0.0", "ema_ATA1.0"]
    files = [f"Customresnet8_best_{name}.pth" for name in names]
    assert sorted(path.name for path in stage1.glob("*_best*")) == sorted(files)
    results = json.loads((stage1 / "results.json").read_text())
    assert [Path(entry["file"]).name for entry in results["checkpoints"]] == files
    assert results["accuracy"] == results["checkpoints"][0]["accuracy"]  # the headline is the raw network's
    raw, averaged = (load(stage1 / file)["state_dict"] for file in (files[0], files[2]))
    masks = [name for name in raw if name.endswith("mask")]
    assert masks
    assert all(torch.equal(raw[name], averaged[name]) for name in masks)
    assert sum(int(raw[name].sum()) for name in masks) == 12345
    assert not torch.equal(raw["conv1.weight"], averaged["conv1.weight"])
    statistics = "bn1.branches.1.running_mean"
    assert not torch.equal(raw[statistics], averaged[statistics])
    for record in log(stage1):
        assert list(record["TA"]) == list(record["TA_ema"]) == ["0", "1"]
        assert list(record["ATA"]) == list(record["ATA_ema"]) == ["1"]
    metrics = load(stage1 / files[3])["metrics"]
    assert metrics["attacked_images"] == 10
    assert metrics["AdvA"] == log(stage1)[-1]["ATA_ema"]


def test_a_stopped_search_goes_on_with_its_average_bit_for_bit(teacher, stage1, tmp_path):
    command = f"{STAGE1} --path_t {teacher}/resnet8_best_ema_TA0.0.pth --save_dir {tmp_path}"
    process = start(f"{command} --save_freq 1")
    last = tmp_path / "student_model/stage1" / stage1.name / "Customresnet8_last.pth"
    wait_for_step(process, last, 1, 2)  # of the second epoch, when masks have moved once
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert "ema is 0.5 here and 0.9 in" in fails(f"{command.replace('--ema 0.9', '--ema 0.5')} --resume auto")
    run(f"{command} --resume auto")
    assert_same_run(last.parent, stage1)
    whole, resumed = (load(folder / last.name)["average"] for folder in (stage1, last.parent))
    assert whole["updates"] == resumed["updates"] == 12
    assert all(torch.equal(value, resumed["network"][name]) for name, value in whole["network"].items())


def test_stage_2_goes_on_from_an_average_and_the_evaluation_takes_one(teacher, stage1, tmp_path):
    student = stage1 / "Customresnet8_best_ema_ATA1.0.pth"
    run(f"{STAGE2} --path_t {teacher}/resnet8_best_TA0.0.pth --path_s_load {student} --save_dir {tmp_path}")
    folder = run_folder(tmp_path)
    run(
        f"validate_common_corruptions.py --path {folder}/Customresnet8_stage2_best_ema_TA0.0.pth --model Customresnet8 "
        f"--validate_mode Custom_Network --use2BN --steps 2 --limit_val_batches 1 --batch_size 16 --num_workers 0 "
        f"--device cpu --save_dir {tmp_path}"
    )
    found = json.loads(next((tmp_path / "validation").rglob("results.json")).read_text())["accuracy"]
    checkpoints = json.loads((folder / "results.json").read_text())["checkpoints"]
    (trained,) = (entry["accuracy"] for entry in checkpoints if "_best_ema_TA0.0" in entry["file"])
    assert {metric: found[metric] for metric in ("CA", "AdvA", "images")} == trained


def test_two_processes_train_the_average_of_one(tmp_path, unused_tcp_port):
    """By one step: in the next, a gradient near 0 may have another sign in the attack, for sums round otherwise."""
    command = f"{TEACHER} --epochs 1 --limit_train_batches 1"
    run(f"{command} --save_dir {tmp_path}/one")
    run_two(f"{command} --save_dir {tmp_path}/two", unused_tcp_port)
    one, two = (load(run_folder(tmp_path / name) / "resnet8_last.pth")["average"]["network"] for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=5e-5)
    (alone,), (shared,) = (log(run_folder(tmp_path / name)) for name in ("one", "two"))
    assert shared["loss"] == pytest.approx(alone["loss"], rel=1e-4)
    assert shared["ATA_ema"] == alone["ATA_ema"]


def test_processes_agree_on_what_a_clock_decides_and_keep_to_it(tmp_path, unused_tcp_port):
    command = f"{TEACHER} --epochs 1 --limit_train_batches 1 --no_sync_bn --amp auto --save_dir {tmp_path}"
    said = run_two(command, unused_tcp_port)
    assert said.count("note: --amp auto") == 1
    chosen = load(run_folder(tmp_path) / "resnet8_last.pth")["args"]["amp"]
    assert chosen == ("bf16" if "training in bfloat16" in said else "none")
    said = run_two(f"{command} --resume auto", unused_tcp_port + 1)
    assert "this run is finished" in said
    assert "note: --amp auto" not in said
