"""Start the processes of one or both parties, follow them, and bring back what they found.

They run in the engine's own environment; what crosses are files of plain arrays and JSON, and lines of JSON.
"""

from __future__ import annotations

import json
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from formats.parties import Event, JobRecord, PartyResult, SettingsRecord
from formats.program import ServedNetwork
from helper.errors import UserError, checked
from helper.files import Kind, map_array, parse_json, read_bytes, read_record
from private_inference.engine.protocols import LOST_PEER_STATUS, EngineSettings, peer_has_ended
from private_inference.program.npz_file import write_program
from private_inference.program.steps import Program

ROOT = Path(__file__).parents[2]
ENGINE_PYTHON = ROOT / ".venv-pi" / "bin" / "python"
GRACE = 5.0  # seconds that the second party has to end by itself once the first one has
GOODBYE = 4.0  # seconds that a party has to end once it is told to


@dataclass(frozen=True, eq=False)
class Assignment:
    """One party's share of the work: where it lives, and its secret, which nobody else is given.

    `secret`: the client's images (N, C, H, W) float32 in [0, 1], or the server's program and what is known about it.
    `prefix` are words before the command, such as those that run it in a network namespace.
    """

    role: str
    listen: str
    peer: str
    secret: np.ndarray | tuple[Program, ServedNetwork]
    digest: str | None = None
    prefix: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class Answer:
    """What a party's result.json says, and the client's logits (N, classes)."""

    result: PartyResult
    logits: np.ndarray | None


def check_engine(python: Path) -> None:
    if not python.is_file():
        raise UserError(f"no secure engine: {python} is missing; `make pi` sets it up, --engine_python names another")


def run_parties(
    assignments: Sequence[Assignment],
    *,
    settings: EngineSettings,
    python: Path,
    folder: Path,
    follow: Callable[[str, Event], None],
) -> dict[str, Answer]:
    """By role, what each party found. `folder` is private to the parties; `follow(role, event)` hears how far they are.

    Raises UserError with the line of the party that failed; no process is left behind, whatever happens.
    """
    events: queue.Queue[tuple[str, Event | None]] = queue.Queue()
    processes: dict[str, subprocess.Popen] = {}
    threads = []
    try:
        for assignment in assignments:
            process = _start(assignment, settings, python, folder / assignment.role)
            processes[assignment.role] = process
            threads.append(threading.Thread(target=_listen, args=(assignment.role, process, events), daemon=True))
            threads[-1].start()
        running = set(processes)
        while running:
            role, event = events.get()
            if event is not None:
                follow(role, event)
                continue
            running.discard(role)
            # A party that has written its result is done, even if its farewell then meets a peer that is gone.
            if processes[role].wait() != 0 and not (folder / role / "result.json").is_file():
                _wait_a_little(processes[other] for other in running)
                raise UserError(_blame(processes, assignments, folder))
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.terminate()  # it tells a party that runs elsewhere
        for process in processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(GOODBYE)
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
        for thread in threads:
            thread.join()
    return {role: _answer(folder / role) for role in processes}


def _start(assignment: Assignment, settings: EngineSettings, python: Path, folder: Path) -> subprocess.Popen:
    folder.mkdir(parents=True, mode=0o700)
    known = {name: getattr(assignment, name) for name in ("role", "listen", "peer", "digest")}
    job = JobRecord(**known, folder=str(folder), settings=SettingsRecord(**asdict(settings)))
    (folder / "job.json").write_text(json.dumps(job.as_json()))
    if isinstance(assignment.secret, np.ndarray):
        np.save(folder / "images.npy", assignment.secret, allow_pickle=False)
    else:
        with open(folder / "program.npz", "wb") as file:
            program, about = assignment.secret
            write_program(file, program, about.as_json())
    command = [*assignment.prefix, str(python), "-m", "private_inference.engine.party", str(folder / "job.json")]
    with open(folder / "stderr", "wb") as errors:
        # Its stdin ends when this process does, even by SIGKILL, and the party with it.
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=_code(folder), stdout=pipe, stderr=errors, stdin=pipe)


def _code(folder: Path) -> Path:
    """Where a party finds our packages: this checkout, or, where we are installed, links to them alone.

    Beside installed ones lie those of this Python, which the engine's must not take for its own.
    """
    if (ROOT / "pyproject.toml").is_file():
        return ROOT
    code = folder / "code"
    code.mkdir()
    for name in ("formats", "helper", "private_inference"):
        (code / name).symlink_to(ROOT / name)
    return code


def _listen(role: str, process: subprocess.Popen, events: queue.Queue) -> None:
    try:
        for line in process.stdout or ():
            with suppress(ValueError, UserError):  # else a library that prints
                events.put((role, checked(Event, parse_json(line), role)))
    finally:
        events.put((role, None))


def _wait_a_little(processes: Iterable[subprocess.Popen]) -> None:
    """Let the other party find out by itself, for it may have something to say."""
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def _blame(processes: dict[str, subprocess.Popen], assignments: Sequence[Assignment], folder: Path) -> str:
    """The line of the party that failed first hand: one that merely lost the other is the lesser witness."""
    stories = []
    for assignment in assignments:
        role, process = assignment.role, processes[assignment.role]
        lines = read_bytes(folder / role / "stderr", Kind.TEXT).decode(errors="replace").strip().splitlines()
        own = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        if own:
            stories.append((own[-1].startswith("the other party at "), f"{role}: {own[-1]}"))
        elif process.poll() == LOST_PEER_STATUS:
            stories.append((True, f"{role}: {peer_has_ended(assignment.peer)}"))
        elif process.poll() == -signal.SIGTERM:  # while it was starting
            stories.append((False, f"{role}: stopped by a signal (SIGTERM)"))
        elif process.poll() == -signal.SIGKILL:  # by somebody else: we do so only after this
            stories.append((False, f"the {role}'s process was killed"))
        elif process.poll() not in (0, None):
            last = lines[-1] if lines else "without a word"
            stories.append((False, f"the {role}'s process failed with status {process.returncode}: {last}"))
    return min(stories, default=(False, "a party failed without a word"))[1]


def _answer(folder: Path) -> Answer:
    logits = folder / "logits.npy"
    return Answer(
        read_record(folder / "result.json", PartyResult),
        np.array(map_array(logits)) if logits.is_file() else None,
    )
