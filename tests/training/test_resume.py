"""A run that goes on keeps what it began with, and is refused where it would compute anything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.plans import ROBUST, TEACHER, begun
from support.runs import ALONE, plan_of

from helper.errors import UserError
from training import run_folder
from training import settle as settling
from training.run_folder import Beginning, RunFolder, check_resumed

pytestmark = pytest.mark.slow

OLD_RECORDS = Path(__file__).with_name("old_records.json")


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("stored", ["none", "bf16"])
def test_a_run_that_goes_on_keeps_what_it_began_with(by_name, stored, tmp_path, monkeypatch):
    monkeypatch.delattr(settling, "timed_precision")  # nothing is timed
    begun(tmp_path / "models/run/resnet8_last.pth", plan_of(TEACHER), amp=stored, data_on="device", ema=None)
    where = f"{tmp_path}/models/run/resnet8_last.pth" if by_name else "auto"
    command = TEACHER.replace("--amp none", f"--save_dir {tmp_path} --run_name run --resume {where}")
    plan = plan_of(command)
    assert (plan.acceleration.amp, plan.record["amp"]) == (stored, stored)
    assert plan.images.data_on == plan.record["data_on"] == "device"
    run = RunFolder(plan.run, ALONE)
    assert run.path == tmp_path / "models/run"
    assert run.checkpoint.epoch == 1


@pytest.mark.parametrize(
    ("option", "changed", "words"),
    [
        ("--amp none", {"amp": "bf16"}, "amp is none here and bf16 in"),
        ("--amp none", {"amp": None}, "amp is none here and None in"),
        ("--amp none --data_on workers", {"data_on": "device"}, "data_on is workers here and device in"),
        ("--amp none --seed 1", {}, "seed is 1 here and 0 in"),
    ],
)
def test_another_value_than_a_run_began_with_is_refused(option, changed, words, tmp_path):
    path = tmp_path / "models/run/resnet8_last.pth"
    begun(path, plan_of(TEACHER), **changed)
    command = TEACHER.replace("--amp none", f"{option} --save_dir {tmp_path} --run_name run --resume auto")
    with pytest.raises(UserError, match=rf"{words} .*resnet8_last\.pth"):
        plan_of(command)


def test_a_process_that_was_brought_back_goes_on(tmp_path, monkeypatch):
    begun(tmp_path / "models/run/resnet8_last.pth", plan_of(TEACHER))
    command = f"{TEACHER} --save_dir {tmp_path} --run_name run"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert RunFolder(plan_of(command).run, ALONE).checkpoint
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert RunFolder(plan_of(command).run, ALONE).checkpoint is None
    assert (tmp_path / "models/run.old1/resnet8_last.pth").exists()


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_runs_from_before_there_were_plans_go_on(stage, stage1, stage2):
    """Their records, but for paths, are what is recorded now: the names, the values, and no option more that counts."""
    command = (TEACHER, stage1, stage2)[stage]
    old = json.loads(OLD_RECORDS.read_text())[command.split()[0]]
    options = "--batch_size 12 --limit_train_batches 3 --limit_val_batches 2 --num_workers 0 --seed 3 --steps 2"
    options += f" --eval_steps 2 --epochs {old['epochs']} --dataset digits {ROBUST}"
    options += " --robust_train_mode " + old["robust_train_mode"] + " --mask_freeze_epochs 1" * (stage == 1)
    plan = plan_of(f"{command} {options}")
    dense = {"dense": True} if stage == 2 else {}  # which it always was
    assert (old | dense).items() <= plan.record.items()
    paths = {name: plan.record.get(name) for name in ("path_t", "path_s_load") if name in plan.record}
    check_resumed(Beginning(dict(plan.record), dict(plan.inputs)), Beginning({**old, **paths}), plan.run)


def test_a_run_of_before_there_were_sparse_weights_stays_dense(stage2, tmp_path, capsys):
    old = f"{stage2.removesuffix(' --dense')} {ROBUST}"
    command = f"{old} --save_dir {tmp_path} --resume auto"
    dense = plan_of(f"{command} --dense")
    unknown = dict.fromkeys(("density", "growth", "prune", "redistribution", "prune_rate"))
    begun(dense.run.last, dense, dense=False, **unknown)
    assert plan_of(f"{command} --dense").optimisation.sparsity is None
    assert "note" not in capsys.readouterr().out
    plan = plan_of(command)
    assert plan.optimisation.sparsity is None
    assert plan.run.folder == dense.run.folder
    assert plan.record["dense"]
    assert "keeps its dense ones" in capsys.readouterr().out
    assert plan_of(old).optimisation.sparsity  # a new run is what its options say


def test_a_sparse_run_and_a_dense_one_are_no_continuation_of_each_other(stage2, tmp_path):
    command = f"{stage2} {ROBUST} --save_dir {tmp_path} --run_name run --resume auto"
    dense = plan_of(command)
    begun(dense.run.last, dense)
    with pytest.raises(UserError, match="dense is False here and True in"):
        plan_of(command.replace(" --dense", ""))
    begun(dense.run.last, plan_of(f"{stage2.removesuffix(' --dense')} {ROBUST} --density 0.1"))
    with pytest.raises(UserError, match=r"density is 0.05 here and 0.1 in"):
        plan_of(command.replace(" --dense", ""))


def test_an_attack_s_own_option_was_its_default_before_there_was_the_attack(monkeypatch):
    monkeypatch.setattr(run_folder, "attack_defaults", lambda: {"toy_option": 3})
    plan = plan_of(TEACHER)
    check_resumed(Beginning({**plan.record, "toy_option": 3}), Beginning(dict(plan.record)), plan.run)
    with pytest.raises(UserError, match="toy_option is 4 here and 3 in"):
        check_resumed(Beginning({**plan.record, "toy_option": 4}), Beginning(dict(plan.record)), plan.run)


def test_a_checkpoint_is_the_same_wherever_it_lies_and_another_one_once_it_is_changed(stage1, tmp_path):
    teacher = Path(stage1.split("--path_t ")[1].split()[0])
    here, there = tmp_path / "here.pth", tmp_path / "there.pth"
    here.write_bytes(teacher.read_bytes())
    command = f"{stage1} {ROBUST} --save_dir {tmp_path} --run_name run --resume auto"
    plan = plan_of(command.replace(str(teacher), str(here)))
    begun(plan.run.last, plan)
    here.rename(there)
    moved = plan_of(command.replace(str(teacher), str(there)))
    assert moved.inputs == plan.inputs
    assert moved.record["path_t"] == str(there)
    torch.save(torch.load(there) | {"epoch": 7}, here)
    with pytest.raises(UserError, match=r"here\.pth is no longer the --path_t .* content has changed"):
        plan_of(command.replace(str(teacher), str(here)))
