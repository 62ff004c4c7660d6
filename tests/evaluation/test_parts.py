"""An attack of several parts: kept batch by batch, and the same figures when it was killed on the way."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import nn

from attacks import attack as known_attacks
from attacks.attack import Attack, AttackSettings
from dataset import ArraySource, DatasetSpec, dataset_spec
from dataset.options import DataSettings
from evaluation.evaluation import Evaluation
from evaluation.measurements import Measurements, Unsaved
from helper.processes import Processes

ALONE = Processes(0, 1, torch.device("cpu"))
SPEC: DatasetSpec = dataset_spec("digits")
SETTINGS = DataSettings(batch_size=4, num_workers=0, select_on="test")


class Halves(Attack):
    """Its first part breaks odd images, its second those below 6; the model is called once for each."""

    name, title = "halves", "Halves"
    parts = MappingProxyType({"odd": 1, "low": 1})
    whole_batches = True

    def __init__(self, calls_left: int = 100):
        self.calls_left, self.seen = calls_left, []

    def withstood_part(self, part, settings, model, x, labels, standing, indices, seed):
        if not self.calls_left:
            raise KeyboardInterrupt
        self.calls_left -= 1
        self.seen.append((part, indices[standing].tolist()))
        model(x)
        return standing & (indices % 2 == 0 if part == "odd" else indices >= 6)


class Constant(nn.Module):
    spec = None

    def forward(self, x):
        return torch.zeros(len(x), 10)


def attacked(entry: Attack, measured: Measurements | Unsaved, monkeypatch) -> dict[str, float]:
    monkeypatch.setattr(known_attacks, "attack_named", lambda name: entry)
    source = ArraySource(np.zeros((10, 32, 32, 3), np.uint8), np.zeros(10, np.int64))
    evaluation = Evaluation(Constant(), [0], SPEC, source, measured, ALONE, SETTINGS)
    return evaluation.attack(AttackSettings(entry.name, 0.1, 0, 0))


def test_each_part_tells_what_stands(monkeypatch, capsys):
    entry = Halves()
    assert attacked(entry, Unsaved(), monkeypatch) == {"0": 20.0}
    assert entry.seen[:3] == [("odd", [0, 1, 2, 3]), ("odd", [4, 5, 6, 7]), ("odd", [8, 9])]
    assert entry.seen[3:] == [("low", [0, 2]), ("low", [4, 6]), ("low", [8])]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("50.00 % of 10 images withstand odd")
    assert lines[1].endswith("20.00 % of 10 images withstand odd, low")


@pytest.mark.parametrize("calls", range(6))
def test_a_killed_one_goes_on_where_it_was(calls, tmp_path, monkeypatch):
    whole, killed, again = Halves(), Halves(calls), Halves()
    figure = attacked(whole, Unsaved(), monkeypatch)
    path = tmp_path / "measurements.json"
    with pytest.raises(KeyboardInterrupt):
        attacked(killed, Measurements(path, "weights", ALONE), monkeypatch)
    assert attacked(again, Measurements(path, "weights", ALONE), monkeypatch) == figure
    assert killed.seen + again.seen == whole.seen
    assert "unfinished" not in path.read_text()
