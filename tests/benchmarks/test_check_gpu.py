"""The check on a GPU: what it says without one, and what its table holds."""

from __future__ import annotations

import pytest
import torch

from benchmarks import check_gpu
from helper.errors import UserError


def line(ms: float, mean_loss: float | None) -> dict:
    figures = {"loss": 2.5, "peak_bytes": 3e9, "times_reference": 1.0, "mean_loss": mean_loss}
    return figures | {"ms_per_step": ms, "images_per_second": 128_000 / ms}


def test_without_a_gpu_it_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no CUDA device is visible"):
        check_gpu.main(check_gpu.parse_args([]))


def test_the_recorded_step_is_held_against_the_plain_one():
    figures = {"reference": line(40, None), "bf16": line(20, 2.0), "graphs": line(8, 1.9)}
    assert check_gpu.apart(figures) == pytest.approx(0.05)
    rows = check_gpu.ladder_rows(figures)
    assert [row[0] for row in rows] == ["reference", "bf16", "graphs", "graphs against bf16"]
    assert rows[0][2:] == ["3,200", "1.00", "3.00"]
    assert rows[-1] == ["graphs against bf16", "mean loss 5.00% apart", "", "2.50", ""]


@pytest.mark.parametrize(("status", "last"), [(0, "7 passed, 2 deselected"), (1, "1 failed")])
def test_pytests_last_line_is_the_outcome(status, last, monkeypatch):
    ended = type("Ended", (), {"returncode": status, "stdout": f"...\n{last} in 2.1s\n", "stderr": ""})
    monkeypatch.setattr(check_gpu.subprocess, "run", lambda words, **more: ended)
    assert check_gpu.run_tests() == (status == 0, last)
