"""Two parties whose engine's part is played by small scripts, so that every way to fail can be had without it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from formats.parties import Event
from formats.program import ServedNetwork
from private_inference.engine import parties
from private_inference.engine.parties import Answer, Assignment, run_parties
from private_inference.engine.protocols import EngineSettings
from private_inference.program.steps import INPUT, Program, Step

SETTINGS = EngineSettings("semi2k", set_up=None, timeout=9)
IMAGES = np.random.default_rng(0).random((2, 3, 4, 4), dtype=np.float32)
WEIGHT = np.random.default_rng(1).standard_normal((5, 48), dtype=np.float32)
STEPS = (
    Step("flatten", (INPUT,), "a", "flatten"),
    Step("linear", ("a",), "b", "fc", {"weight": WEIGHT, "bias": np.ones(5, np.float32)}),
)
ABOUT = {"model": "one layer", "dataset": "none", "branch": 0, "stage": 0, "relus": {"kept": 1, "total": 1}}
SECRETS = {"client": IMAGES, "server": (Program((3, 4, 4), STEPS), ServedNetwork.model_validate(ABOUT))}
STEP = {"layer": "fc", "kind": "linear", "comparisons": 0, "cold": {}}
RESULT = {"about": ABOUT, "digest": "0" * 64, "engine": "a stub", "images": 2, "batch": 1, "comparison": {}}
RESULT |= {"setup_seconds": 0.0, "costs": {"layers": [STEP], "total": {"cold": {}}}}

# What a party does that has nothing to tell but its end.
GOOD = """
    found(role=role)
    if role == "client":
        np.save(folder / "logits.npy", np.arange(10.0).reshape(2, 5))
"""
HANGS = "time.sleep(300)"
LOST = 'fail("error: the other party at 10.0.0.2:9500 has ended; its own last line says why")'
UNANSWERED = 'fail("error: the other party at 10.0.0.2:9500 did not answer within 2 s")'


@pytest.fixture(autouse=True)
def started(monkeypatch) -> Iterator[list[subprocess.Popen]]:
    """Every process of a test, and whatever came of it: at its end none of them runs."""
    processes: list[subprocess.Popen] = []
    popen = subprocess.Popen

    def start(*args, **more) -> subprocess.Popen:
        processes.append(popen(*args, **more))
        return processes[-1]

    monkeypatch.setattr(parties.subprocess, "Popen", start)
    yield processes
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.kill()
    assert not running


@pytest.fixture
def stub(tmp_path: Path, monkeypatch) -> Callable[..., Path]:
    """stub(client, server) -> the path of an executable that does what these lines of Python say, by the job's role."""

    def make(client: str = GOOD, server: str = GOOD) -> Path:
        # One that hangs is waited for in vain; any other may take its time to begin, on a busy machine.
        monkeypatch.setattr(parties, "GRACE", 0.5 if HANGS in client + server else 60)
        begin = f"""#!{sys.executable}
import json, os, signal, sys, time
from pathlib import Path
import numpy as np
job = json.loads(Path(sys.argv[-1]).read_text())
role, folder = job["role"], Path(job["folder"])

def fail(line, status=2):
    print(line, file=sys.stderr, flush=True)
    os._exit(status)

def tell(**event):
    print(json.dumps(event), flush=True)

def found(**more):
    (folder / "result.json").write_text(json.dumps({RESULT!r} | more))

"""
        acts = {"client": client, "server": server}
        acts = "".join(
            f"if role == {role!r}:\n{textwrap.indent(textwrap.dedent(act), '    ')}\n" for role, act in acts.items()
        )
        path = tmp_path / "python"
        path.write_text(begin + acts)
        path.chmod(0o755)
        return path

    return make


def run(
    python: Path, follow: Callable[[str, Event], None] = lambda *_: None, roles: Iterable[str] = SECRETS
) -> dict[str, Answer]:
    """These parties, in a new folder beside the stub."""
    assignments = [Assignment(role, "127.0.0.1:1", "127.0.0.1:2", SECRETS[role]) for role in roles]
    folder = python.parent / "work"
    return run_parties(assignments, settings=SETTINGS, python=python, folder=folder, follow=follow)


def more(answer: Answer) -> dict:
    """What the stub's result says beside what all say."""
    return answer.result.model_extra or {}
