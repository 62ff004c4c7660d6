"""Measurements are on disk when they are made, and are taken over only where everything is the same."""

from __future__ import annotations

import json

import pytest
import torch

from evaluation.measurements import Measurements
from formats.record import Document
from helper.errors import UserError
from helper.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))


class Cell(Document):
    kind = "a cell"
    remedy = "none"


def never() -> dict:
    raise AssertionError("measured again")


def test_each_is_on_disk_before_the_next(tmp_path):
    path = tmp_path / "run" / "measurements.json"
    measured = Measurements(path, "weights", ALONE)
    assert measured.take("clean", Cell, lambda: {"CA": 1.5}, images=4).as_json() == {"CA": 1.5}
    with pytest.raises(KeyboardInterrupt):
        measured.take("pgd", Cell, lambda: (_ for _ in ()).throw(KeyboardInterrupt), steps=20)
    again = Measurements(path, "weights", ALONE)
    assert again.take("clean", Cell, never, images=4).as_json() == {"CA": 1.5}
    assert again.take("pgd", Cell, lambda: {"AdvA": 0.5}, steps=20).as_json() == {"AdvA": 0.5}
    assert len(json.loads(path.read_text())["cells"]) == 2
    assert [file.name for file in path.parent.iterdir()] == ["measurements.json"]


def test_other_settings_add_and_take_nothing_away(tmp_path):
    path = tmp_path / "measurements.json"
    measured = Measurements(path, "weights", ALONE)
    measured.take("pgd", Cell, lambda: {"AdvA": 1}, steps=20)
    assert Measurements(path, "weights", ALONE).take("pgd", Cell, lambda: {"AdvA": 2}, steps=50).as_json() == {
        "AdvA": 2
    }
    assert Measurements(path, "weights", ALONE).take("pgd", Cell, never, steps=20).as_json() == {"AdvA": 1}


def test_other_weights_begin_anew_or_are_an_error(tmp_path, capsys):
    path = tmp_path / "measurements.json"
    Measurements(path, "weights", ALONE).take("clean", Cell, lambda: {"CA": 1})
    with pytest.raises(UserError, match=r"--resume .*measurements\.json: of other weights"):
        Measurements(path, "others", ALONE, must_match=True)
    assert Measurements(path, "others", ALONE).take("clean", Cell, lambda: {"CA": 2}).as_json() == {"CA": 2}
    assert "already" not in capsys.readouterr().out
    with pytest.raises(UserError, match="no such file"):
        Measurements(tmp_path / "none.json", "weights", ALONE, must_match=True)


@pytest.mark.parametrize("content", ["{", "[]", "{}", "3"])
def test_a_damaged_file_is_not_overwritten(content, tmp_path):
    path = tmp_path / "measurements.json"
    path.write_text(content)
    with pytest.raises(UserError, match="not a file of measurements"):
        Measurements(path, "weights", ALONE)
    assert path.read_text() == content
