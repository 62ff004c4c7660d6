"""How a script ends: in one line, whatever happens, and with everything about a mistake of ours in a file."""

from __future__ import annotations

from helper.script import DEBUG, run_script

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from helper import end_at_once
from helper.command_line import Parser
from helper.errors import UserError
from helper.files import lock_folder
from helper.processes import on_main_process

ROOT = Path(__file__).parents[2]
SLOW_TO_IMPORT = """
from helper.script import run_script
try:
    print("on", flush=True)
    import time
    time.sleep(60)
except BaseException:  # as extension modules do
    pass
run_script(None, None)
"""


def run(main, words: list[str]) -> int:
    with pytest.raises(SystemExit) as stop:
        run_script(main, lambda: Parser("A test.").parse_args(words))
    return stop.value.code


def broken(args: argparse.Namespace) -> None:
    raise LookupError("some\nnumber: 5")


@pytest.fixture(autouse=True)
def no_debug(monkeypatch, tmp_path):
    monkeypatch.setenv(DEBUG, "")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_mistake_of_ours_is_one_line_and_a_file(capsys, tmp_path):
    assert run(broken, []) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (file,) = tmp_path.glob("rlnet_traceback_*.txt")
    assert line.startswith("error: LookupError: number: 5; this should not happen")
    assert str(file) in line
    content = file.read_text()
    assert f"command: {sys.orig_argv[0]}" in content
    assert "torch 2." in content
    assert content.endswith('raise LookupError("some\\nnumber: 5")\nLookupError: some\nnumber: 5\n')


def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"^{tmp_path}/file/run: Not a directory$"):
        on_main_process((tmp_path / "file" / "run").mkdir)


def test_the_file_lies_in_the_folder_of_the_run(capsys, tmp_path):
    (tmp_path / "run").mkdir()
    lock = lock_folder(tmp_path / "run")
    assert run(broken, []) == 1
    assert str(tmp_path / "run" / "traceback.txt") in capsys.readouterr().err
    assert "LookupError" in (tmp_path / "run" / "traceback.txt").read_text()
    lock.release()


def test_debug_prints_it_instead_and_is_no_option_of_a_run(capsys, tmp_path):
    seen = []

    def main(args: argparse.Namespace) -> None:
        seen.append(vars(args))
        broken(args)

    assert run(main, ["--debug"]) == 1
    assert os.environ[DEBUG]  # what this script starts hears of it
    assert seen == [{}]
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.txt"))


def heed_ctrl_c() -> None:
    """A shell's background jobs ignore it, and pass that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_during_the_imports_is_one_line(tmp_path):
    (tmp_path / "script.py").write_text(SLOW_TO_IMPORT)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    assert process.stdout.readline() == "on\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30) == ("", "error: interrupted\n")
    assert process.returncode == 130


def test_nobody_elses_ctrl_c_is_changed(tmp_path):
    assert signal.getsignal(signal.SIGINT) is not end_at_once
    (tmp_path / "script.py").write_text("import signal, helper.errors; print(signal.getsignal(signal.SIGINT).__name__)")
    words, paths = [sys.executable, str(tmp_path / "script.py")], {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(words, env=paths, capture_output=True, text=True, check=True, preexec_fn=heed_ctrl_c).stdout
    assert said == "default_int_handler\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--name=--"], "error: --name=--: '--' is no value"),
        (["--name", "caf\udce9"], r"error: 'caf\udce9' is not UTF-8"),
    ],
)
def test_words_that_no_option_can_be(words, line, capsys):
    parser = Parser("A test.")
    parser.add_argument("--name")
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(line)
