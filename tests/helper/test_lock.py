"""Locks of folders: one process at a time, whatever happens to it; and nothing that one kind of system alone has."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from helper.errors import UserError
from helper.files import lock_folder

ROOT = Path(__file__).parents[2]
HOLD = """
import os, sys, time
from pathlib import Path
from helper.files import lock_folder

lock = lock_folder(Path(sys.argv[1]))
if not os.fork():  # in the worker, which has let go of it by then
    print("held", flush=True)
time.sleep(60)
"""
UNIX_ONLY = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}


def test_another_process_keeps_us_out_until_it_is_killed(tmp_path: Path):
    """Its forked workers, which may outlive it for a moment, do not."""
    folder = tmp_path / "runs/a"
    command = [sys.executable, "-c", HOLD, str(folder)]
    other = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"runs/a: another process is writing there; give this one another folder$"):
            lock_folder(folder)
        assert lock_folder(tmp_path / "runs/b").is_locked
        other.kill()
        other.wait()
        assert lock_folder(folder).is_locked
    finally:
        os.killpg(other.pid, signal.SIGKILL)
        other.wait()
        other.stdout.close()


def test_a_lock_lasts_as_long_as_its_object(tmp_path: Path):
    lock = lock_folder(tmp_path / "a")
    with pytest.raises(UserError):
        lock_folder(tmp_path / "a")
    del lock
    assert lock_folder(tmp_path / "a").is_locked


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path):
    (tmp_path / "a" / "tensorboard").mkdir(parents=True)
    left, whole = (
        ("a/.x_last.pth.4711.tmp", "a/tensorboard/.log.json.12.tmp"),
        ("a/x_last.pth", "a/mine.tmp", ".x.1.tmp"),
    )
    for name in (*left, *whole):
        (tmp_path / name).touch()
    lock = lock_folder(tmp_path / "a")
    assert not any((tmp_path / name).exists() for name in left)
    assert all((tmp_path / name).exists() for name in whole)
    lock.release()


def test_every_file_imports_on_every_system():
    for file in [*ROOT.glob("*.py"), *ROOT.glob("[!.]*/**/*.py")]:
        if "tests" in file.relative_to(ROOT).parts:
            continue
        imported = set(re.findall(r"^(?:import|from) (\w+)", file.read_text(), re.MULTILINE))
        assert not imported & UNIX_ONLY, file
