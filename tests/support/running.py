"""How tests run the scripts."""

from __future__ import annotations

import os
import subprocess
import sys

from support.forked import ALONE, ROOT, Forked

TIMEOUT = 120


def words_of(command: str) -> list[str]:
    """Training computes in float32 unless the command says otherwise: --amp auto goes by a clock."""
    precise = ["--amp", "none"] if command.startswith("train_") and "--amp" not in command else []
    return [*command.split(), *precise]


def start(command: str) -> Forked:
    return Forked(words_of(command))


def launch(command: str, launcher: str) -> subprocess.Popen:
    """'python LAUNCHER COMMAND', a Python that starts others."""
    words = [sys.executable, *launcher.split(), *words_of(command)]
    env = {**os.environ, **ALONE}
    return subprocess.Popen(words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(*processes: Forked | subprocess.Popen, timeout: float = TIMEOUT) -> str:
    """What they say; all must end well, and none is left behind."""
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = "".join(outputs)
    assert all(process.returncode == 0 for process in processes), said
    return said


def run(command: str) -> str:
    return finish(start(command))


def run_two(command: str, port: int) -> str:
    """Two processes that train or measure as one, as a launcher would start them."""
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return finish(*(Forked(words_of(command), {**shared, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"))


def fails(command: str) -> str:
    """The one line on stderr of a command that must end with status 2."""
    process = Forked(words_of(command), apart=True)
    try:
        _, errors = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    # A progress bar that was begun is wiped by a carriage return and blanks.
    lines = [line for line in errors.splitlines() if line.strip() and "batch/s" not in line]
    assert process.returncode == 2, errors
    assert len(lines) == 1, errors
    assert lines[0].startswith("error: ")
    return lines[0]


def torchrun(port: int, more: str = "") -> str:
    return f"-m torch.distributed.run --nproc_per_node 2 --master_port {port} {more}"
