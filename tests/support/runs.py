"""Small runs of the training scripts on a handful of digits, and how two of them are compared."""

from __future__ import annotations

import importlib
import json
import subprocess
import time
from pathlib import Path

import torch

from helper.processes import Processes
from support.forked import Forked
from training.plan import Plan
from training.settle import settle

SMALL = (
    "--batch_size 16 --limit_train_batches 4 --limit_val_batches 1 --num_workers 0 --device cpu "
    "--steps 2 --eval_steps 2"
)
ROBUST = "--augment_mode augmix --attack_mode pgd --use2BN"
TEACHER = f"train_teacher.py --model resnet8 --dataset digits {SMALL} {ROBUST}"
STAGE1 = (
    f"train_student_stage1_multigpu.py --model_s Customresnet8 --relu_budget 12345 {SMALL} {ROBUST} "
    "--robust_train_mode rslad+ce --mask_freeze_epochs 1"
)
STAGE2 = (
    f"train_student_stage2_multigpu.py --model_s Customresnet8 --dense {SMALL} {ROBUST} "
    "--robust_train_mode rslad+attn+augattn+ce"
)

STAGES = ("train_teacher", "train_student_stage1_multigpu", "train_student_stage2_multigpu")
ALONE = Processes(0, 1, torch.device("cpu"))


def plan_of(command: str, processes: Processes = ALONE) -> Plan:
    """The plan of a command of a training script, as `run` takes it."""
    script, *options = command.split()
    script = script.removesuffix(".py")
    return settle(importlib.import_module(script).parse_args(options), processes, stage=STAGES.index(script))


def run_folder(save_dir: Path) -> Path:
    (last,) = save_dir.rglob("*_last.pth")
    return last.parent


def log(folder: Path) -> list[dict]:
    """log.jsonl without what a clock measured."""
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("seconds", "images_per_second")} for record in records]


def weights(folder: Path, pattern: str) -> dict[str, torch.Tensor]:
    (path,) = folder.glob(pattern)
    return torch.load(path, weights_only=True)["state_dict"]


def assert_same_run(one: Path, other: Path) -> None:
    assert log(one) == log(other)
    names = sorted(path.name for path in one.glob("*.pth"))
    assert names == sorted(path.name for path in other.glob("*.pth"))
    for name in names:
        a, b = weights(one, name), weights(other, name)
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name
    results = [json.loads((folder / "results.json").read_text()) for folder in (one, other)]
    assert results[0]["accuracy"] == results[1]["accuracy"]
    assert results[0]["relus"] == results[1]["relus"]


def wait_for_step(process: Forked | subprocess.Popen, checkpoint: Path, epoch: int, step: int) -> None:
    """Until the run's last checkpoint is past that point. Checkpoints are atomic: one may be read at any time."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        if checkpoint.exists():
            progress = torch.load(checkpoint, weights_only=True)["progress"]
            if (progress["epoch"], progress["step"]) >= (epoch, step):
                return
        time.sleep(0.02)
    raise AssertionError("the run made no progress")
