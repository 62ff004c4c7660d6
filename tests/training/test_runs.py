"""Whole runs of the scripts on a handful of digits: resumed equals uninterrupted, two processes equal one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from support.running import fails, finish, launch, run, run_two, start, torchrun
from support.runs import (
    ROBUST,
    SMALL,
    STAGE1,
    STAGE2,
    TEACHER,
    assert_same_run,
    log,
    run_folder,
    wait_for_step,
    weights,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    save_dir = tmp_path_factory.mktemp("teacher")
    run(f"{TEACHER} --epochs 1 --save_dir {save_dir}")
    (best,) = save_dir.rglob("*_best_TA0.0.pth")
    return best


@pytest.fixture(scope="module")
def stage1(teacher, tmp_path_factory) -> Path:
    """The run folder of an uninterrupted stage 1: two epochs that search, one under the frozen mask."""
    save_dir = tmp_path_factory.mktemp("stage1")
    run(f"{STAGE1} --path_t {teacher} --epochs 3 --save_dir {save_dir}")
    return run_folder(save_dir)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_search_goes_on_bit_for_bit(number, teacher, stage1, tmp_path):
    command = f"{STAGE1} --path_t {teacher} --epochs 3 --save_dir {tmp_path}"
    process = start(f"{command} --save_freq 1")
    checkpoint = tmp_path / "student_model/stage1" / stage1.name / "Customresnet8_last.pth"
    # In the middle of the second epoch: half of its sums, and masks that have moved once.
    wait_for_step(process, checkpoint, 1, 2)
    process.send_signal(number)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == (0 if number == signal.SIGTERM else -signal.SIGKILL), output
    if number == signal.SIGTERM:
        assert "--resume auto" in output
    assert not (checkpoint.parent / "results.json").exists()
    run(f"{command} --resume auto")
    assert_same_run(checkpoint.parent, stage1)


def test_a_fast_run_in_bf16_goes_on_bit_for_bit(tmp_path):
    command = f"{TEACHER} --preset fast --epochs 2 --amp bf16"
    run(f"{command} --save_dir {tmp_path}/whole")
    whole = run_folder(tmp_path / "whole")
    process = start(f"{command} --save_dir {tmp_path}/stopped --save_freq 1")
    checkpoint = tmp_path / "stopped/models" / whole.name / "resnet8_last.pth"
    wait_for_step(process, checkpoint, 0, 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    resume = f"--save_dir {tmp_path}/stopped --resume auto"
    assert "amp is none here and bf16" in fails(f"{TEACHER} --preset fast --epochs 2 {resume}")
    assert "preset is full here and fast" in fails(
        f"{TEACHER} --epochs 2 --lr_schedule onecycle --learning_rate 0.1 --amp bf16 {resume}"
    )
    run(f"{command} {resume} --compile none")
    assert_same_run(checkpoint.parent, whole)
    stored = torch.load(checkpoint, weights_only=True)["args"]
    assert {name: stored[name] for name in ("amp", "compile", "channels_last", "preset", "epochs", "lr_schedule")} == {
        **{"amp": "bf16", "compile": "none", "channels_last": True},
        **{"preset": "fast", "epochs": 2, "lr_schedule": "onecycle"},
    }


def test_the_searched_mask_meets_its_budget_and_stage2_keeps_it(teacher, stage1, tmp_path):
    results = json.loads((stage1 / "results.json").read_text())
    assert results["relus"]["kept"] == 12345
    assert sum(layer["kept"] for layer in results["relus"]["layers"]) == 12345
    records = log(stage1)
    assert [record.get("mask_distance", 0) > 0 for record in records] == [True, True, False]
    student = stage1 / "Customresnet8_best_TA0.0.pth"
    output = run(f"{STAGE2} --path_t {teacher} --path_s_load {student} --epochs 1 --save_dir {tmp_path}")
    folder = run_folder(tmp_path)
    assert folder.name.startswith("Customresnet8_relu12.345k_")
    before, after = weights(stage1, "*_best_TA0.0.pth"), weights(folder, "*_stage2_best_TA0.0.pth")
    masks = [name for name in before if name.endswith("mask")]
    assert masks
    assert all(torch.equal(before[name], after[name]) for name in masks)
    assert not torch.equal(before["conv1.weight"], after["conv1.weight"])
    assert "12,345 of 73,728 ReLUs" in output
    evaluation = run(
        f"validate_common_corruptions.py --path {folder}/Customresnet8_stage2_best_TA0.0.pth --model Customresnet8 "
        f"--validate_mode Custom_Network --use2BN --steps 2 --limit_val_batches 1 --batch_size 16 --num_workers 0 "
        f"--device cpu --save_dir {tmp_path}"
    )
    found = json.loads(next((tmp_path / "validation").rglob("results.json")).read_text())
    trained = json.loads((folder / "results.json").read_text())
    shared = {metric: found["accuracy"][metric] for metric in ("CA", "AdvA", "images")}
    assert shared == trained["accuracy"] | {"images": 16}
    assert re.search(r"NPA: no .*digits-C; make_corruptions.py writes it", evaluation)


def test_the_seed_makes_the_run(teacher, stage1, tmp_path):
    command = f"{STAGE1} --path_t {teacher} --epochs 3"
    run(f"{command} --save_dir {tmp_path}/same --num_workers 2")
    assert_same_run(run_folder(tmp_path / "same"), stage1)
    run(f"{command} --save_dir {tmp_path}/other --seed 1")
    assert log(run_folder(tmp_path / "other")) != log(stage1)


def test_two_processes_equal_one(teacher, stage1, tmp_path, unused_tcp_port):
    run_two(f"{STAGE1} --path_t {teacher} --epochs 3 --save_dir {tmp_path}", unused_tcp_port)
    one, two = log(stage1), log(run_folder(tmp_path))
    for key in ("loss", "ce_clean", "kl_adv"):
        # The first epoch to float tolerance; later ones start from masks in which near-ties may fall otherwise.
        assert two[0][key] == pytest.approx(one[0][key], rel=1e-3)
        assert two[-1][key] == pytest.approx(one[-1][key], rel=0.05)
    assert json.loads((run_folder(tmp_path) / "results.json").read_text())["processes"] == 2


def test_two_nodes_train_as_one_node_of_two(tmp_path, unused_tcp_port):
    command = f"{TEACHER} --epochs 1"
    run_two(f"{command} --save_dir {tmp_path}/one", unused_tcp_port)
    launcher = (
        f"-m torch.distributed.run --nnodes 2 --nproc_per_node 1 --rdzv_backend c10d --rdzv_id t "
        f"--rdzv_endpoint 127.0.0.1:{unused_tcp_port + 1} --local_addr 127.0.0.1"
    )
    finish(*(launch(f"{command} --save_dir {tmp_path}/two", launcher) for _ in range(2)))
    assert_same_run(run_folder(tmp_path / "one"), run_folder(tmp_path / "two"))


def test_torch_distributed_launch_is_accepted(tmp_path, unused_tcp_port):
    launcher = f"-m torch.distributed.launch --nproc_per_node=2 --master_port={unused_tcp_port}"
    finish(launch(f"{TEACHER} --epochs 1 --limit_train_batches 1 --save_dir {tmp_path}", launcher))
    assert (run_folder(tmp_path) / "results.json").exists()


def test_a_killed_rank_brings_all_back(tmp_path, unused_tcp_port):
    command = f"{TEACHER} --epochs 2 --save_freq 1"
    run_two(f"{command} --save_dir {tmp_path}/whole", unused_tcp_port)
    process = launch(f"{command} --save_dir {tmp_path}/killed", torchrun(unused_tcp_port + 1, "--max_restarts 1"))
    folder = run_folder(tmp_path / "whole")
    wait_for_step(process, tmp_path / "killed/models" / folder.name / "resnet8_last.pth", 0, 2)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "train_teacher"], capture_output=True, text=True, check=True
    )
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    finish(process)
    assert_same_run(tmp_path / "killed/models" / folder.name, folder)


def test_an_exploding_loss_stops_the_run(tmp_path):
    line = fails(f"{TEACHER} --epochs 3 --learning_rate 1e9 --print_freq 1 --save_dir {tmp_path}")
    assert re.search(r"not finite, first in .*(ce_|loss)", line)
    assert not list(tmp_path.rglob("*_best*.pth"))


def test_options_that_contradict_a_checkpoint_name_both_values(teacher, stage1, tmp_path):
    common = f"--path_t {teacher} --save_dir {tmp_path} {SMALL}"
    stage_1 = "train_student_stage1_multigpu.py --relu_budget 12345"
    for command, words in {
        f"{stage_1} --model_s Customresnet20 {common} {ROBUST}": ["resnet20", "resnet8"],
        f"{stage_1} --model_s Customresnet8 {common} {ROBUST} --dataset cifar10": ["cifar10", "digits"],
        f"{stage_1} --model_s resnet8 {common} {ROBUST}": ["resnet8 is no student", "Customresnet8"],
        f"{STAGE2} --path_t {teacher} --path_s_load {teacher} --save_dir {tmp_path}": ["stage 0", "stage 1"],
        f"{STAGE2} --path_t {stage1}/Customresnet8_last.pth --path_s_load {teacher} --save_dir {tmp_path}": ["stage 1"],
        f"validate_common_corruptions.py --path {teacher} --model resnet20": ["resnet20", "resnet8"],
        f"validate_common_corruptions.py --path {teacher} --use3BN": ["3", "2"],
        f"validate_common_corruptions.py --path {teacher} --validate_mode Custom_Network": ["Custom", "Normal"],
        f"train_teacher.py --model Customresnet8 --save_dir {tmp_path}": ["Customresnet8", "resnet8"],
        f"train_teacher.py --model ResNet19 --save_dir {tmp_path}": ["ResNet19", "ResNet18"],
        f"train_teacher.py --dataset digits --use2BN --save_dir {tmp_path}": ["--use2BN", "--attack_mode pgd"],
        f"train_teacher.py --batch_size 0 --save_dir {tmp_path}": ["--batch_size", "0 is not 1 or more"],
        f"train_teacher.py --dataset mnist --save_dir {tmp_path}": ["mnist", "digits"],
        f"{TEACHER} --compile graphs --save_dir {tmp_path}": ["--compile graphs needs a GPU", "--compile auto or none"],
        f"{TEACHER} --epochs 1 --save_dir {tmp_path} --data_root /nowhere --dataset cifar10 --no_download": [
            "/nowhere"
        ],
    }.items():
        line = fails(command)
        assert all(word in line for word in words), line
    assert not list(tmp_path.rglob("*.pth"))


def test_resuming_with_other_options_is_refused(stage1, teacher):
    save_dir = stage1.parent.parent.parent
    line = fails(f"{STAGE1} --path_t {teacher} --epochs 3 --save_dir {save_dir} --resume auto --learning_rate 0.3")
    assert "learning_rate is 0.3 here and 0.05" in line


def test_an_earlier_run_is_moved_aside_not_overwritten(tmp_path):
    command = f"{TEACHER} --epochs 1 --limit_train_batches 1 --save_dir {tmp_path}"
    run(command)
    first = run_folder(tmp_path)
    before = (first / "resnet8_last.pth").read_bytes()
    assert ".old1" in run(command)
    assert (first.with_name(f"{first.name}.old1") / "resnet8_last.pth").read_bytes() == before
