"""Two networks of one's own through three stages, evaluation, report, export and private inference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.running import fails, run
from support.secure_runs import needs_engine

FILE = Path(__file__).parents[1] / "models/own_networks.py"
SMALL = "--batch_size 8 --num_workers 0 --device cpu"
TRAIN = f"{SMALL} --limit_train_batches 2 --limit_val_batches 1 --steps 1 --eval_steps 1 --run_name own"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["ours", "plain"])
def chain(request, tmp_path_factory) -> tuple[Path, Path, str]:
    """(the folder that everything is saved in, the finished student, --model)"""
    save, function = tmp_path_factory.mktemp("own"), request.param
    named, train = f"--model {FILE}:{function}", f"{TRAIN} --save_dir {save}"
    run(f"train_teacher.py {named} --dataset digits --epochs 1 --attack_mode pgd --use2BN {train}")
    teacher = save / f"models/own/own_networks.{function}_best_TA0.0.pth"
    run(f"train_student_stage1_multigpu.py {named} --path_t {teacher} --relu_budget 30% --t1_epochs 2 {train}")
    searched = save / f"student_model/stage1/own/Custom_own_networks.{function}_best_TA0.0.pth"
    tune = f"--path_s_load {searched} --dense --epochs 1 --robust_train_mode rslad+attn+ce {train}"
    run(f"train_student_stage2_multigpu.py {named} --path_t {teacher} {tune}")
    return save, save / f"student_model/stage2/own/Custom_own_networks.{function}_stage2_best_TA0.0.pth", named


def test_evaluation_report_and_export(chain):
    save, student, named = chain
    cells = "--generate --corruptions fog --severities 1"
    command = f"validate_common_corruptions.py --path {student} {SMALL} --limit_val_batches 1 {cells} --eval_steps 1"
    assert "its code is run only where you name it" in fails(f"{command} --save_dir {save}")
    run(f"{command} {named} --save_dir {save} --run_name own")
    found = json.loads((save / "validation/own/results.json").read_text())
    assert found["relus"]["kept"] < found["relus"]["total"]
    run(f"report.py {save}/validation/own {save}/models/own --out {save}/report.html")
    assert found["model"] in (save / "report.html").read_text()
    run(f"export_model.py {student} {named} --format npz --out {save}/student.npz")
    code = torch.load(student, weights_only=True)["code"]
    assert (code["file"], len(code["sha256"])) == (FILE.name, 64)


@needs_engine
def test_private_inference(chain):
    save, student, named = chain
    run(f"measure_private_inference.py --path {student} {named} --images 1 --save_dir {save} --run_name own")
    found = json.loads((save / "private_inference/own/private_inference.json").read_text())
    assert found["measured"][0]["relus"]["kept"] > 0
