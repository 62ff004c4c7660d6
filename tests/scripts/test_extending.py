"""The contract of docs/extending.md: a data set, attack, loss, mask search and network are a file each, nothing else.

A copy of the repository gets the five toys of toys/, and nothing in it is edited; the command line does the rest.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.running import ROOT

TOYS = Path(__file__).with_name("toys")
PLACES = {
    "dataset_sets_stripes.py": "dataset/sets/stripes.py",
    "attacks_darken.py": "attacks/darken.py",
    "distiller_zoo_mean_logit.py": "distiller_zoo/mean_logit.py",
    "masks_first.py": "masks/first.py",
    "models_families_tiny.py": "models/families/tiny.py",
}
COMMON = (
    "--dataset stripes --batch_size 8 --limit_train_batches 2 --limit_val_batches 1 --num_workers 0 --device cpu "
    "--amp none --attack_mode darken --eval_steps 2 --use2BN --epochs 2 --save_dir save --run_name toy"
)
DISTIL = f"--path_t save/models/toy/tiny_best_TA0.0.pth --model_s Customtiny {COMMON}"
RELUS = 500


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Path:
    """A copy of the repository, with a file more for every toy."""
    copy = tmp_path_factory.mktemp("house") / "rlnet"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "save", "data", "tests", "zoo"))
    for toy, place in PLACES.items():
        shutil.copy(TOYS / toy, copy / place)
    return copy


@pytest.fixture(scope="module")
def runs(house) -> Path:
    """The folder of runs after a teacher, a searched mask, a tuned student, an evaluation and a report."""
    commands = (
        f"train_teacher.py --model tiny {COMMON}",
        f"train_student_stage1_multigpu.py {DISTIL} --mask_search first --relu_budget {RELUS} --mask_freeze_epochs 1 "
        "--robust_train_mode ard+ce+meanlogit --delta 0.5",
        f"train_student_stage2_multigpu.py {DISTIL} --dense --robust_train_mode kl+meanlogit "
        "--path_s_load save/student_model/stage1/toy/Customtiny_best_TA0.0.pth",
        "validate_common_corruptions.py --path save/student_model/stage2/toy/Customtiny_stage2_best_TA0.0.pth "
        "--attack_mode pgd --steps 2 --generate --corruptions fog --severities 1 --batch_size 8 --num_workers 0 "
        "--run_name toy",
        "report.py save/validation/toy save/models/toy --out save/report.html",
    )
    ran(house, *commands)
    return house / "save"


# One command after the other in one process: each loads torch anew otherwise.
IN_TURN = """
import runpy, sys
for command in sys.argv[1:]:
    sys.argv = command.split()
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
"""


def ran(house: Path, *commands: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, "-c", IN_TURN, *commands]
    ended = subprocess.run(words, cwd=house, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{commands}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text())


@pytest.mark.slow
def test_the_search_chose_the_masks(runs):
    path = runs / "student_model/stage2/toy/Customtiny_stage2_best_TA0.0.pth"
    state = torch.load(path, weights_only=True)["state_dict"]
    masks = [value.flatten() for name, value in state.items() if name.endswith("mask")]
    kept = [int(mask.sum()) for mask in masks]
    assert sum(kept) == RELUS
    assert all(mask[:count].all() for mask, count in zip(masks, kept, strict=True))


@pytest.mark.slow
def test_the_loss_was_trained_with_its_own_weight(runs):
    records = [json.loads(line) for line in (runs / "student_model/stage1/toy/log.jsonl").read_text().splitlines()]
    assert all(record["ml_clean"] >= 0 for record in records)
    assert results(runs / "student_model/stage1/toy")["args"]["delta"] == 0.5
    assert results(runs / "student_model/stage2/toy")["args"]["delta"] == 0.25


@pytest.mark.slow
def test_the_attack_and_the_data_set_are_measured_and_reported(runs):
    evaluated = results(runs / "validation/toy")
    assert evaluated["dataset"] == "stripes"
    assert list(evaluated["accuracy"]["attacks"]) == ["darken", "fgsm", "pgd"]
    assert evaluated["accuracy"]["corruptions"]["0"].keys() == {"fog"}
    page = (runs / "report.html").read_text()
    assert "Darkening" in page
    assert "stripes" in page


@pytest.mark.slow
def test_help_names_them(house):
    stage1 = " ".join(ran(house, "train_student_stage1_multigpu.py --help").split())
    for word in ("stripes", "darken", "+meanlogit", "--delta", "the first positions of every layer"):
        assert word in stage1
