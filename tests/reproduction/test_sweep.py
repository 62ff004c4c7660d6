"""A sweep is a configuration of one round: its steps are those of reproduce.py, from a teacher that is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.forked import ROOT
from support.plans import save_network
from support.running import fails

import sweep
from helper.errors import UserError
from reproduction.config import Config
from reproduction.steps import Place, plan
from reproduction.sweep import as_options, sweep_config

JUDGED = "--batch_size 32 --limit_val_batches 1 --num_workers 0 --device cpu"
SMALL = f"{JUDGED} --limit_train_batches 1 --amp none --eval_steps 1"
OPTIONS = {"stage1": {"epochs": 2}, "stage2": {"epochs": 1, "dense": True}, "evaluation": {"steps": 1}}
PRIVATE = {"protocol": "cheetah", "network": ["wan"], "estimate_only": True}


@pytest.fixture
def teacher(network, tmp_path) -> Path:
    args = {"attack_mode": "nfgsm", "augment_mode": "augmix", "use2BN": True, "use3BN": False}
    return save_network(tmp_path / "run" / "teacher.pth", network(branches=2), args=args)


def config_of(teacher: Path, *budgets: str) -> Config:
    return sweep_config(teacher, budgets, "swept", 3, OPTIONS, PRIVATE)


def test_options_are_read_as_somebody_types_them():
    words = ["--epochs", "20", "--ema=0.9", "--use2BN", "--corruptions", "fog", "snow", "--eps", "8/255"]
    found = {"epochs": 20, "ema": "0.9", "use2BN": True, "corruptions": ["fog", "snow"], "eps": "8/255"}
    assert as_options(words, "--stage1") == found
    with pytest.raises(UserError, match="--stage1: --run_name is for the sweep to give"):
        as_options(["--run_name", "mine"], "--stage1")
    with pytest.raises(UserError, match="--stage1 20: options begin with --"):
        as_options(["20"], "--stage1")


def test_the_scripts_say_what_is_wrong_before_anything_runs(teacher, capsys):
    assert sweep.options_of("stage2", "--preset fast --dense", teacher)["epochs"] == 30
    with pytest.raises(SystemExit):
        sweep.options_of("stage2", "--epoch 3", teacher)
    assert "unrecognized arguments: --epoch 3" in capsys.readouterr().err


def test_students_of_every_budget_come_from_the_one_teacher(teacher, tmp_path):
    steps, rows = plan(config_of(teacher, "50%", "9k"), Place(tmp_path / "save", "data"), ["sweep"])
    kinds = [step.kind for step in steps]
    assert kinds == ["evaluation", *["stage1", "stage2", "evaluation"] * 2, *["private"] * 3]
    assert [row.relus for row in rows] == [73_728, 36_864, 9_000]
    assert [row.role for row in rows] == ["teacher", "student", "student"]
    for step in steps:
        words = " ".join(step.command)
        if step.kind in ("stage1", "stage2"):
            assert f"--path_t {teacher}" in words
            assert "--seed 3" in words
            assert "--augment_mode augmix --attack_mode nfgsm --use2BN" in words
            assert "--robust_train_mode kl+ce+advce" in words
        if step.kind == "stage2":
            assert "--dense" in words
    assert "--estimate_only" in steps[-1].command
    assert steps[-1].marker.name == "estimate.json"


def test_budgets_in_seconds_go_by_the_link_of_the_estimate(teacher, tmp_path):
    steps, rows = plan(config_of(teacher, "12.5s"), Place(tmp_path / "save", "data"), ["sweep"])
    words = " ".join(steps[1].command)
    assert "--seconds_budget 12.5 --network wan --protocol cheetah" in words
    assert "--relu_budget" not in words
    assert rows[1].relus is None
    nowhere = sweep_config(teacher, ["12.5s"], "swept", 3, OPTIONS, {})
    with pytest.raises(UserError, match="counts seconds over a link"):
        plan(nowhere, Place(tmp_path / "save", "data"), ["sweep"])


def test_a_student_is_no_teacher(network, tmp_path):
    student = save_network(tmp_path / "student.pth", network(), stage=1)
    with pytest.raises(UserError, match="is of stage 1; a teacher comes from"):
        config_of(student, "50%")


@pytest.mark.slow
def test_a_sweep_runs_once_and_grows(network, tmp_path):
    teacher = save_network(tmp_path / "run" / "teacher.pth", network())
    common = f"sweep.py --path_t {teacher} --save_dir {tmp_path} --name swept"
    options = [f"--stage1=--epochs 2 {SMALL}", f"--stage2=--density 0.1 --epochs 1 {SMALL}"]
    options.append(f"--evaluation=--corruptions none --no_figures --steps 1 {JUDGED}")

    def swept(more: str) -> str:
        words = [sys.executable, *common.split(), *options, *more.split()]
        ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    said = swept("--relu_budget 50%")
    assert "all steps are done" in said
    folder = tmp_path / "swept"
    assert {"pareto.png", "pareto.pdf", "report.html", "results.md"} <= {path.name for path in folder.iterdir()}
    table = (folder / "results.md").read_text()
    assert "| student, sweep | 36,864 (50 %) |" in table
    assert "est. " in table
    *steps, left = swept("--relu_budget 50% 9k --dry_run").splitlines()
    undone = [step.split()[0] for step in steps if not step.endswith("done")]
    assert undone == ["sweep_mask_9k", "sweep_student_9k", "sweep_student_9k_evaluation", "sweep_student_9k_private"]
    assert left.startswith("left: ")
    assert "budget '2000k'" in fails(f"{common} --relu_budget 2000k")
