"""`pip install .` takes all of the house along, and gives its scripts as one command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.forked import ROOT

import rlnet_command

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SETUP = PROJECT["tool"]["setuptools"]


def tracked(pattern: str) -> list[str]:
    """Files of the repository."""
    words = ["git", "ls-files", pattern]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_every_room_and_script_is_packaged():
    rooms = {Path(path).parent.as_posix().replace("/", ".") for path in tracked("*__init__.py")}
    data = {"reproduce", "zoo"}
    assert set(SETUP["packages"]) == {room for room in rooms if not room.startswith("tests")} | data
    scripts = {Path(path).stem for path in tracked("*.py") if "/" not in path}
    assert set(SETUP["py-modules"]) == scripts
    assert set(rlnet_command.SCRIPTS) == scripts - {"rlnet", "rlnet_command"}


def test_every_file_of_a_room_that_is_no_code_is_packaged():
    for package in SETUP["packages"]:
        folder = ROOT / package.replace(".", "/")
        patterns = SETUP["package-data"].get(package, [])
        named = {path for pattern in patterns for path in folder.glob(pattern)}
        below = [ROOT / path for path in tracked(f"{folder.relative_to(ROOT)}/*")]
        nested = {ROOT / other.replace(".", "/") for other in SETUP["packages"] if other.startswith(f"{package}.")}
        own = {path for path in below if not any(other in path.parents for other in nested)}
        assert {path for path in own if path.suffix != ".py"} <= named, package


def test_the_command_names_every_script(capsys: pytest.CaptureFixture[str]):
    assert PROJECT["project"]["scripts"] == {"rlnet": "rlnet_command:main"}
    text = rlnet_command.usage()
    for script in rlnet_command.SCRIPTS:
        assert re.search(rf"^  {rlnet_command.spoken(script)} +\w.*\w", text, re.MULTILINE)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """The command, called from another folder."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "rlnet_command", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_script_by_its_name_speaks_of_itself_as_the_command(tmp_path):
    assert "usage: rlnet report [options]" in run(tmp_path, "report", "--help").stdout
    assert run(tmp_path, "nothing").stderr.startswith("error: rlnet has no 'nothing'; it has demo, train-teacher, ")
    refused = run(tmp_path, "report", "missing")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
