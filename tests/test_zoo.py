"""The networks that come with the repository, and the short names that stand for them."""

from __future__ import annotations

import json

import pytest
import torch

import add_to_zoo
from helper import zoo
from helper.checkpoint import describe_model, load_model, read_file, save_checkpoint
from helper.errors import UserError
from helper.files import file_digest
from helper.relu_mask import relu_totals, set_random_masks
from models import build_model
from models.layers import relu_sites
from tests.running import fails

ENTRIES = zoo.read_index()


@pytest.fixture
def student(tmp_path):
    """The file of a masked student, as a training on somebody's machine leaves it."""
    model = build_model("Customresnet8", num_classes=10, image_size=32, branches=2)
    set_random_masks(model, [100] * len(relu_sites(model)), seed=0)
    path = tmp_path / "run" / "student.pth"
    known = {"dataset": "digits", "stage": 2, "trained_branches": [0, 1], "epoch": 3}
    given = {"seed": 5, "path_t": "/home/somebody/teacher.pth", "data_root": "/home/somebody/data", "kd_T": 4.0}
    save_checkpoint(path, {**describe_model("Customresnet8", model), **known, "args": given})
    return path


@pytest.fixture
def own_zoo(tmp_path, monkeypatch):
    """An empty zoo in the place of the repository's."""
    folder = tmp_path / "zoo"
    for module in (zoo, add_to_zoo):
        monkeypatch.setattr(module, "FOLDER", folder)
    monkeypatch.setattr(add_to_zoo, "PAGE", tmp_path / "zoo.md")
    for function in (zoo.read_index, zoo.local_file):
        monkeypatch.setattr(function, "__defaults__", (folder,))
    return folder


def add(*arguments) -> None:
    add_to_zoo.main(add_to_zoo.parse_args([str(argument) for argument in arguments]))


def test_the_short_name_stands_for_the_network(own_zoo, student):
    add(student, "--name", "small", "--note", "a test")
    found, checkpoint = load_model("zoo:small")
    expected, _ = load_model(student)
    assert all(torch.equal(found.state_dict()[key], value) for key, value in expected.state_dict().items())
    assert checkpoint["trained_branches"] == [0, 1]
    (entry,) = json.loads((own_zoo / "index.json").read_text())
    assert (entry["relus"], entry["total"]) == relu_totals(expected)
    assert entry["sha256"] == file_digest(own_zoo / "small.pth")
    assert entry["seed"] == 5
    assert entry["accuracy"] == {}  # nothing was measured, so nothing is claimed
    assert entry["private"] is None
    assert "`zoo:small`" in add_to_zoo.PAGE.read_text()


def test_no_path_of_the_machine_travels(own_zoo, student):
    add(student, "--name", "small")
    assert read_file("zoo:small")["args"] == {"kd_T": 4.0, "seed": 5}
    assert b"somebody" not in (own_zoo / "small.pth").read_bytes() + (own_zoo / "index.json").read_bytes()


def test_a_name_is_taken_once_unless_it_is_replaced(own_zoo, student):
    add(student, "--name", "small", "--note", "first")
    with pytest.raises(UserError, match="--replace"):
        add(student, "--name", "small")
    add(student, "--name", "other")
    add(student, "--name", "small", "--note", "second", "--replace")
    assert [(entry["name"], entry["note"]) for entry in zoo.read_index(own_zoo)] == [
        ("small", "second"),
        ("other", None),
    ]


def test_an_evaluation_of_other_weights_is_refused(own_zoo, student, tmp_path):
    (tmp_path / "measurements.json").write_text(json.dumps({"checkpoint": "0" * 64, "cells": {}}))
    with pytest.raises(UserError, match="not an evaluation of"):
        add(student, "--name", "small", "--evaluation", tmp_path)
    assert not own_zoo.exists()


def test_a_damaged_file_and_an_unknown_name_are_said(own_zoo, student):
    add(student, "--name", "small")
    with pytest.raises(UserError, match="did you mean zoo:small"):
        load_model("zoo:smal")
    with open(own_zoo / "small.pth", "ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="is not the file that the index describes"):
        load_model("zoo:small")


@pytest.mark.parametrize(
    "command",
    [
        "validate_common_corruptions.py --path zoo:none_such",
        "measure_private_inference.py --path zoo:none_such",
        "export_model.py zoo:none_such --format npz --out /dev/null",
    ],
)
def test_scripts_take_the_name(command):
    assert "zoo:none_such: no such network" in fails(command)


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry["name"] for entry in ENTRIES])
def test_every_network_is_what_its_entry_says(entry):
    model, checkpoint = load_model(f"zoo:{entry['name']}")
    assert relu_totals(model) == (entry["relus"], entry["total"])
    assert (checkpoint["model"]["name"], model.spec.branches) == (entry["model"], entry["branches"])
    assert set(entry["accuracy"]) <= {str(branch) for branch in range(entry["branches"])}


def test_the_page_and_the_size_of_the_zoo():
    assert add_to_zoo.PAGE.read_text() == add_to_zoo.zoo_page(ENTRIES)
    assert {path.name for path in zoo.FOLDER.glob("*.pth")} == {entry["file"] for entry in ENTRIES}
    assert sum(path.stat().st_size for path in zoo.FOLDER.glob("*.pth")) <= add_to_zoo.LARGEST_ZOO
