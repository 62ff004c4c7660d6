"""docs/tour.ipynb: its cells run from the first to the last, here on noise in the place of CIFAR-10."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.forked import ROOT

import dataset

TOUR = json.loads((ROOT / "docs/tour.ipynb").read_text())


def noise(root: Path, *, train: bool, download: bool) -> dataset.ArraySource:
    pixels = np.random.default_rng(0).integers(256, size=(32, 32, 32, 3), dtype=np.uint8)
    return dataset.ArraySource(pixels, np.arange(32) % 10)


@pytest.mark.slow
def test_every_cell_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(dataset.DATASETS, "cifar10", replace(dataset.DATASETS["cifar10"], load=noise))
    names: dict = {}
    for cell in TOUR["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
            names["IMAGES"] = 8
    said = capsys.readouterr().out
    for words in ("47,104 of 188,416 ReLUs", "of 8 images", "fog at severity 1, 3, 5:", "teacher, wan:"):
        assert words in said


def test_it_comes_without_outputs():
    cells = [cell for cell in TOUR["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells)
