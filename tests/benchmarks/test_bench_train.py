"""The ladder runs, counts what it should, and holds our step against the plain one."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import bench_train
from benchmarks.training_ladder import LADDER


@pytest.mark.slow
def test_every_line_of_the_ladder_is_measured_and_agrees(tmp_path, capsys):
    options = "--model resnet8 --batch_size 8 --steps 2 --repeats 1 --device cpu --stages 0 1 2 --out"
    threads = torch.get_num_threads()
    try:
        bench_train.main(bench_train.parse_args([*options.split(), str(tmp_path / "figures.json")]))
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["left_out"] == ["tf32", "graphs"]
    assert "need a GPU: tf32, graphs" in printed
    assert list(figures["stages"]) == ["teacher", "stage 1", "stage 2"]
    assert figures["start_up_seconds"] > 0
    for stage in figures["stages"].values():
        assert list(stage) == [line.name for line in LADDER if not line.needs_gpu]
        assert stage["reference"]["times_reference"] == 1
        # Weights' gradients in two steps of the attack, which nobody uses; everything else is the same work.
        assert stage["reference"]["flop"] > stage["frozen"]["flop"]
        assert {stage[name]["flop"] for name in stage if name != "reference"} == {stage["frozen"]["flop"]}
        for name in ("frozen", "one forward", "channels_last"):
            assert stage[name]["loss"] == pytest.approx(stage["reference"]["loss"], rel=1e-2)
        assert all(found["images_per_second"] > 0 and found["peak_bytes"] is None for found in stage.values())


def test_a_line_that_computes_something_else_is_found():
    with pytest.raises(AssertionError, match="one forward: loss 2"):
        bench_train.check_losses({"reference": {"loss": 1.0}, "frozen": {"loss": 1.0}, "one forward": {"loss": 2.0}})
