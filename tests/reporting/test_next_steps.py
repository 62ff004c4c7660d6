"""The command that is printed can be typed as it stands."""

from __future__ import annotations

import sys

import pytest

from reporting.next_steps import command


@pytest.mark.parametrize("activated", [True, False])
def test_the_interpreter_is_named_where_another_one_would_answer(activated, tmp_path, monkeypatch):
    ours, other = tmp_path / ".venv/bin/python", tmp_path / "usr/bin/python"
    for file in (ours, other):
        file.parent.mkdir(parents=True)
        file.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(ours))
    monkeypatch.setattr(sys, "argv", ["demo.py"])
    monkeypatch.setenv("PATH", str((ours if activated else other).parent))
    expected = "python" if activated else ".venv/bin/python"
    assert command("report.py", "a run") == f"{expected} report.py 'a run'"


@pytest.mark.parametrize(
    ("called", "expected"),
    [("a.py", "python report.py"), ("../clone/a.py", "python ../clone/report.py"), ("rlnet a", "rlnet report")],
)
def test_the_script_lies_beside_the_one_that_runs(called, expected, monkeypatch):
    monkeypatch.setattr("reporting.next_steps.interpreter", lambda: "python")
    monkeypatch.setattr(sys, "argv", [called])
    assert command("report.py") == expected


def test_a_script_below_the_working_directory_goes_by_its_relative_path(tmp_path, monkeypatch):
    monkeypatch.setattr("reporting.next_steps.interpreter", lambda: "python")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "clone/a.py")])
    monkeypatch.chdir(tmp_path)
    assert command("report.py") == "python clone/report.py"
