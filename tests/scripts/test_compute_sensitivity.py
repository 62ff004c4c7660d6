"""compute_sensitivity.py on digits: both methods, what takes their files, going on after a kill, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from support.networks import EVERY_ARCHITECTURE
from support.running import fails
from support.runs import SMALL, plan_of
from support.zoos import save_digits_network

import compute_sensitivity as script
import plan_budget
from helper.errors import UserError
from models import build_model
from models.layers import relu_sites
from sensitivity import load_budget
from sensitivity.pruning import GradualPruning, feeding_weights
from training.layer_sensitivity import SensitivityStudy

ATTACKED = {"attack_mode": "nfgsm", "augment_mode": "none", "eps": 8 / 255, "step_size": 2 / 255, "steps": 1}
QUICK = "--limit_train_batches 2 --batch_size 16 --heldout_images 32 --eval_steps 1 --device cpu --epochs 1"


@pytest.fixture
def teacher(tmp_path) -> Path:
    return save_digits_network(tmp_path / "run" / "teacher.pth", args=ATTACKED)


def compute(command: str) -> None:
    script.main(script.parse_args(command.split()))


@pytest.mark.slow
def test_linearize_measures_every_layer_and_is_taken_everywhere(teacher, tmp_path, capsys, monkeypatch):
    out = tmp_path / "mine.yaml"
    command = f"--model resnet8 --path {teacher} --method linearize --relu_budget 9% --out {out} {QUICK}"
    command += f" --save_dir {tmp_path}"
    compute(command)
    told = capsys.readouterr().out
    content = yaml.safe_load(out.read_text())
    layers = content["provenance"]["layers"]
    assert [layer["layer"] for layer in layers] == list(
        relu_sites(build_model("resnet8", num_classes=10, image_size=32))
    )
    for layer, sensitivity in zip(layers, content["sensitivity"], strict=True):
        assert layer["loss"] == pytest.approx((layer["clean"] + layer["adv"]) / 2)
        assert sensitivity == pytest.approx(layer["loss"], abs=1e-6)
        assert f"{layer['adv']:+.4f}" in told
    assert len({layer["loss"] for layer in layers}) == len(layers)
    total = sum(layer["total"] for layer in layers)
    assert sum(content["relus"]) == int(0.09 * total)
    assert out.with_suffix(".png").is_file()

    # Stage 1 takes it as a budget, and to share others out; so does the planner.
    start = f"train_student_stage1_multigpu.py --model_s Customresnet8 --use2BN --attack_mode pgd {SMALL} --amp none"
    start += f" --path_t {teacher} --save_dir {tmp_path}"
    as_budget, shared = (
        plan_of(f"{start} --sensitivity {out}"),
        plan_of(f"{start} --relu_budget 9% --layer_sensitivity {out}"),
    )
    assert list(as_budget.distillation.budget.layers) == content["relus"] == list(shared.distillation.budget.layers)
    words = f"{teacher} --sensitivity {out} --network wan --images 0 --points 2 --out {tmp_path}/plan"
    plan_budget.main(plan_budget.parse_args(words.split()))
    (link,) = json.loads((tmp_path / "plan" / "frontier.json").read_text())["links"]
    assert link["all"] == pytest.approx(sum(max(0.0, value) for value in content["sensitivity"]))

    # What is measured is not measured again.
    cells = json.loads((tmp_path / "sensitivity/mine/measurements.json").read_text())["cells"]
    assert len(cells) == 1 + len(layers)
    monkeypatch.setattr(SensitivityStudy, "_loss_without", lambda *_: pytest.fail("measured again"))
    before = out.read_bytes()
    compute(command)
    assert out.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("with_teacher", [True, False])
def test_prune_goes_on_where_it_was_killed(with_teacher, teacher, tmp_path, monkeypatch):
    source = f"--path {teacher}" if with_teacher else "--dataset digits"
    command = f"--model resnet8 {source} --method prune --density 0.2 --relu_budget 1k {QUICK} --epochs 3"
    compute(f"{command} --out {tmp_path}/whole.yaml --save_dir {tmp_path}")
    whole = yaml.safe_load((tmp_path / "whole.yaml").read_text())
    densities = [layer["density"] for layer in whole["provenance"]["layers"]]
    assert whole["sensitivity"] == pytest.approx([1 - density for density in densities], abs=1e-6)
    assert len(set(densities)) > 3

    epoch = SensitivityStudy._epoch

    def killed(study, update, number, *more):
        if number == 2:
            raise KeyboardInterrupt
        epoch(study, update, number, *more)

    monkeypatch.setattr(SensitivityStudy, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        compute(f"{command} --out {tmp_path}/cut.yaml --save_dir {tmp_path}")
    assert not (tmp_path / "cut.yaml").exists()
    monkeypatch.setattr(SensitivityStudy, "_epoch", epoch)
    compute(f"{command} --out {tmp_path}/cut.yaml --save_dir {tmp_path}")
    assert load_budget(f"{tmp_path}/cut.yaml").sensitivity == tuple(whole["sensitivity"])


@pytest.mark.parametrize("name", EVERY_ARCHITECTURE)
def test_every_model_has_weights_before_every_site(name):
    model = build_model(name, num_classes=10, image_size=32)
    feeding = feeding_weights(model)
    assert list(feeding) == list(relu_sites(model))
    assert all(feeding.values())
    assert all(weight.requires_grad for weights in feeding.values() for weight in weights)


def test_pruning_reaches_its_density_and_stays(network):
    model = network()
    pruning = GradualPruning(model, 0.25, steps=8)
    shares = []
    for step in range(1, 9):
        with torch.no_grad():
            for weight in pruning.weights:
                weight += 0.01  # as an optimizer would bring back what is pruned
        pruning.after_step(step)
        shares.append(sum(int((weight != 0).sum()) for weight in pruning.weights) / pruning.total)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] < 1
    assert shares[5:] == pytest.approx([0.25] * 3, abs=1e-4)
    kept = sum(pruning.densities()[name] * sum(w.numel() for w in weights) for name, weights in pruning.feeding.items())
    assert kept == pytest.approx(0.25 * pruning.total, abs=1)
    assert GradualPruning(model, 0.25, steps=8).densities() == pruning.densities()


@pytest.mark.slow
def test_bad_input_is_named(teacher, tmp_path):
    student = save_digits_network(tmp_path / "run" / "student.pth", kept=200)
    (tmp_path / "published.yaml").write_text("fractions: [1]\n")
    start = f"--relu_budget 1k --save_dir {tmp_path}/save --device cpu"
    out = f"--out {tmp_path}/x.yaml"
    good = f"--model resnet8 --path {teacher} --method linearize {out}"
    pruned = f"--path {teacher} --method prune"
    for options, words in {
        f"--model resnet20 {pruned} {out}": "resnet20 contradicts .* has resnet8",
        f"--model Customresnet8 {pruned} {out}": "is a student",
        f"--model resnet8 --path {student} --method prune {out}": "Customresnet8",
        f"--model resnet8 --method linearize --dataset digits {out}": "takes a trained network",
        f"--model resnet8 --method prune {out}": "name the data set",
        f"--model resnet8 {pruned} --out {tmp_path}/x.json": "name a .yaml file",
        f"--model resnet8 {pruned} --out {tmp_path}/published.yaml": "none of compute_sensitivity",
        f"{good} --density 0": "--density 0",
        f"{good} --dataset cifar10": "cifar10 contradicts",
    }.items():
        with pytest.raises(UserError, match=words):
            compute(f"{options} {start}")
    with pytest.raises(UserError, match="--relu_budget 10000000: this network has"):
        compute(f"{good} {start} --relu_budget 10000k")
    assert not (tmp_path / "save").exists()
    assert "whole number of ReLUs" in fails(f"compute_sensitivity.py {good} --relu_budget 1.5")
