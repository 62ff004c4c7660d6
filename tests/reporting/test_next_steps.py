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
    monkeypatch.setattr("reporting.next_steps.SCRIPTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["demo.py"])
    monkeypatch.setenv("PATH", str((ours if activated else other).parent))
    expected = "python" if activated else ".venv/bin/python"
    assert command("report.py", "a run") == f"{expected} report.py 'a run'"


@pytest.mark.parametrize(
    ("called", "folder", "expected"),
    [("a.py", "clone", "python report.py"), ("a.py", ".", "python clone/report.py"), ("rlnet a", ".", "rlnet report")],
)
def test_the_next_script_is_found_from_the_working_directory(called, folder, expected, tmp_path, monkeypatch):
    monkeypatch.setattr("reporting.next_steps.interpreter", lambda: "python")
    monkeypatch.setattr("reporting.next_steps.SCRIPTS", tmp_path / "clone")
    monkeypatch.setattr(sys, "argv", [called])
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / folder)
    assert command("report.py") == expected
