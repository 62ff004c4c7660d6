"""The script on digits: what it writes, going on, what takes its checkpoint, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support.networks import randomise_norms
from support.running import fails, run

import interpolate_branches as script
from dataset import dataset_spec
from formats.checkpoint import Checkpoint
from helper.checkpoint import save_checkpoint
from helper.errors import UserError
from masks.counting import masks_of
from masks.selection import set_random_masks
from models import build_model
from models.layers import relu_sites
from models.restore import describe_model, load_model
from training.plan import model_spec

pytestmark = pytest.mark.slow

SMALL = "--eval_steps 1 --attack_images 16 --corrupt_images 8 --num_workers 0 --device cpu --batch_size 48"
CELLS = "--corruptions fog contrast"


def make_checkpoint(path: Path, name: str, branches: int, **more) -> Path:
    torch.manual_seed(0)
    model = build_model(name, **vars(model_spec(dataset_spec("digits"), branches)))
    randomise_norms(model)
    if name.startswith("Custom"):
        set_random_masks(model, [200] * len(relu_sites(model)), seed=0)
    more = {"dataset": "digits", "trained_branches": list(range(branches))} | more
    save_checkpoint(path, Checkpoint(**describe_model(name, model), **more))
    return path


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Path:
    """Stage 1's, as if it had been trained on all training images."""
    budget = {"label": "relu1.4k", "layers": [200] * 7}
    identity = {"stage": 1, "teacher": "resnet8", "tag": "rslad", "budget": budget, "args": {"select_on": "test"}}
    return make_checkpoint(tmp_path_factory.mktemp("run") / "student.pth", "Customresnet8", 2, **identity)


@pytest.fixture(scope="module")
def searched(student, tmp_path_factory) -> tuple[Path, str, Path]:
    """(the folder of the curve, what the terminal showed, the one-branch checkpoint)"""
    save = tmp_path_factory.mktemp("save")
    output = run(f"interpolate_branches.py {student} --weight 0.5 --grid 3 {SMALL} {CELLS} --save_dir {save}")
    (folder,) = (save / "interpolation").glob("[!.]*")
    (single,) = student.parent.glob("student_t*.pth")
    return folder, output, single


def read_curve(folder: Path) -> dict:
    return json.loads((folder / "curve.json").read_text())


def test_the_curve_and_the_chosen_network_are_written(student, searched):
    folder, output, single = searched
    found = read_curve(folder)
    assert [point["t"] for point in found["curve"]] == [0, 0.5, 1]
    assert found["images"] == {"CA": 144, "NPA": 8, "AdvA": 16}
    assert found["attack"] | {"name": "pgd", "steps": 1} == found["attack"]
    best = max(found["curve"], key=lambda point: point["score"])
    assert best["score"] == pytest.approx((best["CA"] + best["AdvA"]) / 2)
    assert single.name == f"student_t{found['t']:g}.pth"
    assert any("--select_on test" in sentence for sentence in found["warnings"])
    assert "Warning: the network was trained with --select_on test" in output
    assert {path.name for path in folder.iterdir()} == {"curve.json", "curve.png", "curve.pdf", "measurements.json"}
    model, checkpoint = load_model(single)
    origin = checkpoint.interpolation
    assert (origin.t, origin.weight, origin.statistics) == (found["t"], 0.5, "interpolated")
    assert origin.sha256 == found["sha256"]
    assert checkpoint.trained_branches == (0,)
    assert all(torch.equal(mask, masks_of(model)[name]) for name, mask in masks_of(load_model(student)[0]).items())


def test_what_is_measured_is_not_measured_again(student, searched, tmp_path):
    content = json.loads((searched[0] / "measurements.json").read_text())
    (key,) = [key for key in content["cells"] if key.startswith("clean") and "t 0.5" in key]
    content["cells"][key]["CA"]["0"] = 98.76  # no new measurement would give it, and it makes t = 0.5 the best
    copy = tmp_path / "measurements.json"
    copy.write_text(json.dumps(content))
    command = f"interpolate_branches.py {student} --weight 0 --grid 3 {SMALL} {CELLS} --save_dir {tmp_path}"
    output = run(f"{command} --resume {copy} --out {tmp_path}/single.pth")
    assert f"{len(content['cells'])} measurements of these weights are already in" in output
    assert json.loads(copy.read_text()) == content
    assert load_model(tmp_path / "single.pth")[1].interpolation.t == 0.5


def test_one_t_with_estimated_statistics(student, tmp_path):
    options = f"--t 0.3 --statistics estimate --estimate_images 96 --corruptions none --save_dir {tmp_path}"
    run(f"interpolate_branches.py {student} {options} {SMALL}")
    (folder,) = (tmp_path / "interpolation").glob("[!.]*")
    assert folder.name.endswith("_student_t0.3_estimated")
    assert not list(folder.glob("*.png"))
    (point,) = read_curve(folder)["curve"]
    assert set(point) == {"t", "CA", "AdvA"}
    origin = load_model(student.parent / "student_t0.3_estimated.pth")[1].interpolation
    assert origin.statistics == "estimated on 96 training images in batches of 48"
    assert origin.weight is None


def test_evaluation_export_and_stage_2_take_it(searched, tmp_path):
    single, small = searched[2], f"--num_workers 0 --device cpu --save_dir {tmp_path}"
    run(f"validate_common_corruptions.py --path {single} --attack_mode none --no_figures --select_on heldout {small}")
    (results,) = tmp_path.rglob("results.json")
    found = read_curve(searched[0])
    (point,) = (point for point in found["curve"] if point["t"] == found["t"])
    assert json.loads(results.read_text())["accuracy"]["CA"] == {"0": point["CA"]}
    run(f"export_model.py {single} --format npz --out {tmp_path}/single.npz")
    teacher = make_checkpoint(tmp_path / "teacher.pth", "resnet8", 1, stage=0)
    run(
        f"train_student_stage2_multigpu.py --path_t {teacher} --path_s_load {single} --model_s Customresnet8 "
        "--dense --epochs 1 --limit_train_batches 1 --limit_val_batches 1 --batch_size 8 --attack_mode pgd "
        f"--steps 1 --eval_steps 1 --amp none {small}"
    )
    assert list(tmp_path.glob("student_model/stage2/*relu1.4k*/*_best_TA0.0.pth"))


def test_bad_input_is_one_line(student, searched, tmp_path):
    one_sided = make_checkpoint(tmp_path / "one_sided.pth", "resnet8", 2, trained_branches=[0])
    for command, words in {
        f"{searched[2]} --weight 0.5": "has one batch-norm branch",
        f"{one_sided} --weight 0.5": "never trained its branch 1",
        f"{student} --weight 0.5 --grid 1": "--grid 1",
        f"{student} --weight 0.5 --out {student}": "another file",
        f"{student} --weight 0.5 --dataset cifar10": "cifar10 contradicts .* digits",
        f"{student} --weight 0.5 --corruptions fogg": "fogg",
        f"{tmp_path}/none.pth --weight 0.5": "no such checkpoint",
    }.items():
        with pytest.raises(UserError, match=words):
            script.main(script.parse_args([*command.split(), "--save_dir", f"{tmp_path}/out", "--device", "cpu"]))
    assert not (tmp_path / "out").exists()
    line = fails(f"interpolate_branches.py {student} --weight 1.5")
    assert "--weight: 1.5 does not lie in [0, 1]" in line


@pytest.mark.parametrize("options", ["", "--t=-0.1", "--t=nan", "--weight=0.5 --t=0.5"])
def test_a_weight_or_a_t_between_0_and_1(options, capsys):
    with pytest.raises(SystemExit):
        script.parse_args(["x.pth", *options.split()])
    assert capsys.readouterr().err.startswith("error: ")
