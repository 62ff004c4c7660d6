"""A folder of one's own images through three stages, evaluation, report, export and private inference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.folders import make_folder
from support.running import fails, run
from support.secure_runs import needs_engine

SMALL = "--batch_size 8 --num_workers 0 --device cpu"
TRAIN = f"{SMALL} --limit_train_batches 2 --attack_mode pgd --steps 1 --eval_steps 1 --run_name own"
TEACHER = f"train_teacher.py --model resnet8 --epochs 1 {TRAIN}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> tuple[Path, Path]:
    """(the folder that everything is saved in, the finished student)"""
    save = tmp_path_factory.mktemp("own")
    pets = make_folder(save / "pets", train=20, test=3, sizes=(36, 60))
    run(f"{TEACHER} --dataset folder:{pets} --save_dir {save}")
    teacher = save / "models/own/resnet8_best_TA0.0.pth"
    student = f"--path_t {teacher} --model_s Customresnet8 {TRAIN} --robust_train_mode kl --save_dir {save}"
    run(f"train_student_stage1_multigpu.py {student} --relu_budget 5000 --t1_epochs 1")
    searched = save / "student_model/stage1/own/Customresnet8_best_TA0.0.pth"
    run(f"train_student_stage2_multigpu.py {student} --path_s_load {searched} --dense --epochs 1")
    return save, save / "student_model/stage2/own/Customresnet8_stage2_best_TA0.0.pth"


def test_evaluation_report_and_export(chain):
    save, student = chain
    cells = "--generate --corruptions fog --severities 1"
    run(f"validate_common_corruptions.py --path {student} {SMALL} {cells} --eval_steps 1 --save_dir {save}")
    (file,) = (save / "validation").glob("*/results.json")
    found = json.loads(file.read_text())
    assert (found["dataset"], found["image_size"], found["accuracy"]["images"]) == ("folder:pets", 32, 6)
    assert len(found["accuracy"]["corruptions"]["0"]["fog"]) == 1
    run(f"report.py {file.parent} {save / 'models/own'} --out {save / 'report.html'}")
    assert "folder:pets" in (save / "report.html").read_text()
    run(f"export_model.py {student} --format npz --out {save / 'student.npz'}")
    assert (save / "student.npz").is_file()


@needs_engine
def test_private_inference(chain):
    save, student = chain
    run(f"measure_private_inference.py --path {student} --images 1 --save_dir {save} --run_name own")
    found = json.loads((save / "private_inference/own/private_inference.json").read_text())
    assert found["measured"][0]["dataset"] == "folder:pets"


def test_a_run_goes_on_with_the_images_that_it_began_with_alone(chain, tmp_path):
    pets = make_folder(tmp_path / "pets", train=20, test=3, sizes=(36, 60))
    command = f"{TEACHER} --dataset folder:{pets} --save_dir {tmp_path}"
    run(command)
    (tmp_path / "models/own/results.json").unlink()  # as if it had been stopped before its last measurement
    (pets / "train/owl").mkdir()
    (pets / "train/dog/0.png").rename(pets / "train/owl/0.png")
    assert "pets no longer holds the images that the run began with" in fails(f"{command} --resume auto")
