"""How tests run the scripts."""

from __future__ import annotations

import os
import subprocess
import sys

from support.forked import ROOT, run_forked


def words_of(command: str) -> list[str]:
    """Training computes in float32 unless the command says otherwise: --amp auto goes by a clock."""
    precise = ["--amp", "none"] if command.startswith("train_") and "--amp" not in command else []
    return [*command.split(), *precise]


def start(command: str, launcher: str = "", **environment: str) -> subprocess.Popen:
    words = [sys.executable, *launcher.split(), *words_of(command)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **environment}
    return subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(command: str, launcher: str = "", **environment: str) -> str:
    process = start(command, launcher, **environment)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    return output


def fails(command: str) -> str:
    """The one line on stderr of a command that must end with status 2."""
    status, _, errors = run_forked(words_of(command), timeout=120)
    # A progress bar that was begun is wiped by a carriage return and blanks.
    lines = [line for line in errors.splitlines() if line.strip() and "batch/s" not in line]
    assert status == 2, errors
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    return lines[0]


def torchrun(port: int, more: str = "") -> str:
    return f"-m torch.distributed.run --nproc_per_node 2 --master_port {port} {more}"
