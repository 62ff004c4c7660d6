"""Scripts in processes forked from one that has loaded torch: loading it takes longer than most of them run."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from functools import cache
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[2]
ALONE = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def run_forked(words: list[str], timeout: float) -> tuple[int | None, str, str]:
    """Exit status (None where it is not over in time), stdout and stderr of 'python WORDS' in the repository."""
    with TemporaryDirectory() as folder:
        out, err = (Path(folder, name) for name in ("stdout", "stderr"))
        process = server().Process(target=_run, args=(words, {**os.environ, **ALONE}, out, err))
        process.start()
        process.join(timeout)
        status = process.exitcode
        if status is None:
            process.kill()
        process.join()
        return status, out.read_text(), err.read_text()


@cache
def server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "torchvision", "training.settle"])
    # It keeps the environment, and so the one thread, that it starts in: OpenMP's threads would not survive a fork.
    before = dict(os.environ)
    os.environ.update(ALONE)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
    return context


def _run(words: list[str], environment: dict[str, str], out: Path, err: Path) -> None:
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), descriptor)
    sys.path.insert(0, str(ROOT))
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
