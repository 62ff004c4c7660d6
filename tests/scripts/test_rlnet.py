"""RLNet from Python: what is loaded, and that figures are those of the scripts."""

from __future__ import annotations

import json

import pytest
import torch
from support.result_examples import content_of
from support.running import run
from support.zoos import save_digits_network
from torch import nn

import rlnet
from attacks.attack import AttackSettings
from masks.counting import relu_totals
from models.layers import use_branch
from models.restore import load_model


@pytest.fixture
def student(tmp_path):
    return save_digits_network(tmp_path / "run" / "student.pth", kept=200)


class Foreign(nn.Module):
    """Nothing of this project: a linear network on grey images."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(32 * 32, 10)

    def forward(self, x):
        return self.layer(x.mean(1).flatten(1))


@pytest.mark.parametrize("branch", [0, 1])
def test_a_loaded_network_is_the_chosen_branch(student, branch):
    model = rlnet.load_model(student, branch=branch)
    whole, checkpoint = load_model(student)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad(), use_branch(whole.eval(), branch):
        assert torch.equal(model(x), whole(x))
    assert not model.training
    about = model.about
    assert (about.path, about.model, about.dataset, about.branch) == (student, "Customresnet8", "digits", branch)
    assert about.trained == (0, 1)
    assert about.checkpoint["stage"] == checkpoint.stage
    assert "state_dict" not in about.checkpoint


def test_the_best_branch_is_that_of_stored_results(student):
    assert rlnet.load_model(student).about.branch == 0
    accuracy = {"images": 1, "CA": {"0": 80.0, "1": 70.0}, "AdvA": {"0": 0.0, "1": 40.0}}
    found = content_of(checkpoints=[{"file": "elsewhere/student.pth", "epoch": 1, "accuracy": accuracy}])
    (student.parent / "results.json").write_text(json.dumps(found))
    assert rlnet.load_model(student).about.branch == 1
    with pytest.raises(rlnet.UserError, match=r"branch 2: .* trained the branches 0, 1"):
        rlnet.load_model(student, branch=2)


def test_a_network_of_the_zoo(zoo):
    zoo("teacher")
    assert rlnet.load_model("zoo:teacher").about.dataset == "digits"


@pytest.mark.parametrize("make", [lambda path: rlnet.load_model(path, branch=1), lambda path: Foreign().train()])
def test_any_module_is_evaluated_and_left_as_it_was(make, student):
    model = make(student)
    modes = [module.training for module in model.modules()]
    found = rlnet.evaluate(
        model, "digits", attacks=["fgsm", "pgd_l2"], corruptions=["fog"], severities=[3], limit=24, batch_size=24
    )
    assert found["images"] == 24
    assert 0 <= found["attacks"]["fgsm"] <= 100
    assert found["AdvA"] == found["attacks"]["pgd_l2"]
    assert list(found["corruptions"]) == ["fog"]
    assert len(found["corruptions"]["fog"]) == 1
    assert "NPA" not in found
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
def test_figures_are_those_of_the_script(student, tmp_path):
    options = "--steps 2 --num_workers 0 --device cpu --corruptions fog --severities 5 --generate --no_figures"
    run(f"validate_common_corruptions.py --path {student} {options} --save_dir {tmp_path}")
    (file,) = tmp_path.rglob("results.json")
    script = json.loads(file.read_text())["accuracy"]
    attacks = ["fgsm", AttackSettings("pgd", 8 / 255, 2 / 255, 2)]
    model = rlnet.load_model(student, branch=1)
    found = rlnet.evaluate(model, "digits", attacks=attacks, corruptions=["fog"], severities=[5])
    assert found["images"] == script["images"]
    assert found["CA"] == script["CA"]["1"]
    assert found["attacks"] == {name: values["1"] for name, values in script["attacks"].items()}
    assert found["corruptions"] == script["corruptions"]["1"]


def test_what_is_unknown_is_said(student):
    model = rlnet.load_model(student)
    for options, words in (({"attacks": ["apgd"]}, "apgd; there are fgsm"), ({"corruptions": ["fogg"]}, "fogg")):
        with pytest.raises(rlnet.UserError, match=words):
            rlnet.evaluate(model, "digits", limit=4, **options)
    with pytest.raises(rlnet.UserError, match="no constants for protocol abc"):
        rlnet.private_cost(model, "abc")


def test_relus_and_the_cost_of_private_inference(student):
    model = rlnet.load_model(student)
    relus = rlnet.count_relus(model)
    assert (relus["kept"], relus["total"]) == relu_totals(model)
    near, far = (rlnet.private_cost(model, "cheetah", link) for link in ("lan", "wan"))
    assert near["bytes"] == far["bytes"] > 0
    assert near["seconds"]["total"] < far["seconds"]["total"]
    assert rlnet.private_cost(model, comparison=64)["bytes"] > near["bytes"]
    assert rlnet.private_cost(model, batch=8)["rounds"] < near["rounds"]
    with pytest.raises(rlnet.UserError, match="is no network"):
        rlnet.private_cost(model, network="nowhere")
