"""How tests run the scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


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
    words = [sys.executable, *words_of(command)]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    # A progress bar that was begun is wiped by a carriage return and blanks.
    lines = [line for line in ended.stderr.splitlines() if line.strip() and "batch/s" not in line]
    assert ended.returncode == 2, ended.stderr
    assert len(lines) == 1, ended.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def torchrun(port: int, more: str = "") -> str:
    return f"-m torch.distributed.run --nproc_per_node 2 --master_port {port} {more}"
