"""Networks of one's own: built of our layers or masked by `mask_relus`, refused in one line, run only where named."""

from __future__ import annotations

import runpy
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from support.networks import randomise_norms
from torch import nn

import rlnet
from formats.checkpoint import Checkpoint
from helper.checkpoint import save_checkpoint
from helper.errors import UserError
from models import ARCHITECTURES, STUDENTS, architecture_of, build_model, own, student_name
from models.layers import BranchNorm2d, ModelSpec, relu_sites, use_branch
from models.restore import describe_model, load_model

FILE = Path(__file__).with_name("own_networks.py")
SPEC = ModelSpec(10, 32, 2, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    """What a test names is not known after it."""
    for known in (ARCHITECTURES, STUDENTS, own._named):
        for name in known:
            monkeypatch.setitem(known, name, known[name])
    yield
    for known in (ARCHITECTURES, STUDENTS, own._named):
        for name in [name for name in known if "own_networks" in name or "copied" in name]:
            del known[name]


def build(function: str) -> nn.Module:
    return build_model(own.model_name(f"{FILE}:{function}"), **asdict(SPEC))


@pytest.mark.parametrize(("function", "sites"), [("ours", 2), ("plain", 3)])
def test_a_network_of_ones_own_is_one_of_ours(function, sites):
    model = build(function).eval()
    assert len(relu_sites(model)) == sites
    assert all(site.total > 1 for site in relu_sites(model).values())
    assert own.described(f"Custom_own_networks.{function}") == own.described(f"own_networks.{function}") != {}
    assert own.model_words(f"Custom_own_networks.{function}") == ["--model", f"{FILE}:{function}"]
    assert own.model_words("resnet8") == []
    assert architecture_of(f"Custom_own_networks.{function}") == f"own_networks.{function}"
    logits, features = model.forward_features(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 10)
    assert [feature.shape[-1] for feature in features] == [16, 8]


def test_a_masked_network_computes_what_the_plain_one_does():
    torch.manual_seed(0)
    plain = runpy.run_path(str(FILE))["Plain"](10)
    torch.manual_seed(0)
    model = build("plain")
    randomise_norms(model)
    norms = [module for module in model.modules() if isinstance(module, BranchNorm2d)]
    theirs = [module for module in plain.modules() if isinstance(module, nn.BatchNorm2d)]
    images = torch.rand(4, 3, 32, 32)
    for branch in (0, 1):
        for norm, own_norm in zip(norms, theirs, strict=True):
            own_norm.load_state_dict(norm.branches[branch].state_dict())
        with use_branch(model.eval(), branch), torch.no_grad():
            assert torch.equal(model(images), plain.eval()((images - 0.5) / 0.25))


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("unmasked", "has no masked ReLU"),
        ("functional", "calls relu outside of its ReLU modules"),
        ("twice", r"calls its ReLU 'net\.block\.2' twice"),
        ("unordered", r"calls its ReLU 'net\.down\.2' in another place"),
        ("shared", r"'block\.2' and 'down\.2' are one nn\.ReLU"),
        ("wrong_classes", r"gives \(2, 11\) for 2 images of 10 classes"),
        ("failing", "ended in KeyError: 'width'"),
        ("no_module", "returns int, not a torch module"),
        ("missing", "has no function 'missing'"),
    ],
)
def test_what_cannot_be_masked_is_refused_in_one_line(function, words):
    with pytest.raises(UserError, match=words) as refusal:
        build(function)
    assert "\n" not in str(refusal.value)


def test_a_network_without_relu_modules_cannot_be_masked():
    with pytest.raises(UserError, match=r"Linear has no nn\.ReLU module to mask"):
        rlnet.mask_relus(nn.Linear(2, 2))


def test_a_checkpoint_runs_no_code_that_nobody_names(tmp_path, capsys):
    copy = tmp_path / "copied.py"
    copy.write_text(FILE.read_text())
    name = own.model_name(f"{copy}:plain")
    path = tmp_path / "net.pth"
    model = build_model(name, **asdict(SPEC))
    save_checkpoint(path, Checkpoint(**describe_model(name, model), trained_branches=[0, 1]))
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(load_model(path)[0].eval()(images), model.eval()(images))

    for known in (ARCHITECTURES, own._named):  # as in another process
        del known[name]
    del STUDENTS[student_name(name)]
    with pytest.raises(UserError, match=r"its code is run only where you name it: --model PATH/copied\.py:plain"):
        load_model(path)
    copy.write_text(f"{FILE.read_text()}# changed\n")
    assert isinstance(rlnet.load_model(path, model=f"{copy}:plain"), nn.Module)
    assert "copied.py is no longer the file" in capsys.readouterr().err
