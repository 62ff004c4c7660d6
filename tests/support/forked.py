"""Scripts in processes forked from one that has loaded torch: loading it takes longer than most of them run."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
# What scripts import, so that they find it there.
LOADED = [path.stem for path in ROOT.glob("*.py")] + ["torchvision", "torch.utils.tensorboard"]


class Forked:
    """'python WORDS' at work in the folder `cwd`, to be asked as a subprocess.Popen is.

    What it says on stderr is in its output too, unless `apart`. `prelude` is run before it.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: dict[str, str] | None = None,
        *,
        cwd: Path = ROOT,
        prelude: str = "",
        apart: bool = False,
    ):
        self._folder = TemporaryDirectory()
        self._out = Path(self._folder.name, "stdout")
        self._err = Path(self._folder.name, "stderr") if apart else self._out
        environment = {**os.environ, **ALONE, **(environment or {})}
        arguments = (list(words), environment, cwd, prelude, self._out, self._err)
        self._process: ForkServerProcess = server().Process(target=_run, args=arguments)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises TimeoutExpired."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("the script", timeout or 0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it says: (stdout, stderr). Raises TimeoutExpired."""
        self.wait(timeout)
        return self._out.read_text(), self._err.read_text() if self._err != self._out else ""

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


@cache
def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    # It keeps the environment, and so the one thread, that it starts in: OpenMP's threads would not survive a fork.
    before = dict(os.environ)
    os.environ.update(ALONE)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _run(words: list[str], environment: dict[str, str], cwd: Path, prelude: str, out: Path, err: Path) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    said = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said if err == out else os.open(err, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.path.insert(0, str(ROOT))
    sys.argv = words
    exec(prelude, {})
    runpy.run_path(words[0], run_name="__main__")
