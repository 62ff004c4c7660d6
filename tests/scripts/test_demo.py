"""The demo's last screen: what there is, what it means, and commands that can be typed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.result_examples import results_of
from support.running import ROOT

import demo
import measure_private_inference
import validate_common_corruptions
from formats.results import Results


def results(kept: int, clean: float, attacked: float) -> Results:
    """Of ten layers with 100 ReLUs each."""
    return results_of(kept=kept // 10, layers=10, single_branch={"branch": 1, "CA": clean, "AdvA": attacked})


def test_the_last_screen_tells_what_there_is_what_it_means_and_what_next():
    evaluated = [results(1000, 99.4, 92.7), results(150, 99.2, 91.8)]
    student, page, fewer = Path("save/demo/student.pth"), Path("save/demo/report.html"), ["--relu_share", "0.1"]
    screen = demo.last_screen(evaluated, student, page, 300.0, fewer)
    for words in ("save/demo/student.pth", "save/demo/report.html", "150 of 1,000 ReLUs (15 %)", "5 min"):
        assert words in screen
    assert "right on 99 % of the unchanged test images (the teacher on 99 %) and on 92 %" in " ".join(screen.split())
    assert "demo.py --relu_share 0.1" in screen
    assert all(len(line) <= 80 for line in screen.splitlines() if ".py " not in line)
    commands = [shlex.split(line)[1:] for line in screen.splitlines() if ".py " in line]
    parsers = {"measure_private_inference": measure_private_inference, "demo": demo}
    parsers["validate_common_corruptions"] = validate_common_corruptions
    assert {Path(script).stem for script, *_ in commands} == set(parsers)
    for script, *words in commands:
        parsers[Path(script).stem].parse_args(words)


SAVES_AT_CTRL_C = """
import time
try:
    print("on", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(1)  # longer than subprocess.run waits before it kills
    print("saved")
"""


@pytest.mark.slow
def test_ctrl_c_lets_the_script_at_work_save_what_it_has(tmp_path):
    (tmp_path / "train.py").write_text(SAVES_AT_CTRL_C)
    code = f"import demo; demo.__file__ = {str(tmp_path / 'demo.py')!r}; demo.run('train.py')"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,  # what a terminal sends it to
        # A shell's background jobs ignore it, and pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.stdout.readline() != "on\n":
        pass
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=60) == ("saved\n", "")
    assert process.returncode == 130
