"""The processes of two parties, from the outside: what each is given, who is blamed, and that none is left behind."""

from __future__ import annotations

import signal
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from support.running import ROOT
from support.stub_parties import (
    ABOUT,
    GOOD,
    HANGS,
    IMAGES,
    LOST,
    SECRETS,
    SETTINGS,
    UNANSWERED,
    WEIGHT,
    more,
    run,
)
from support.stub_parties import started as started  # a fixture that every test uses
from support.stub_parties import stub as stub

from formats.parties import Event
from helper.errors import UserError
from private_inference.engine.parties import Assignment, check_engine, run_parties
from private_inference.program.npz_file import load_program

# --- What each is given, and says -----------------------------------------------------------------------------------


def test_each_party_is_given_its_own_secret_and_no_more(stub) -> None:
    seen = """
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        modes["."] = stat.S_IMODE(folder.stat().st_mode)
        found(modes=modes, job=job, argv=sys.argv[1:])
    """
    path = stub("import stat\n" + textwrap.dedent(seen), "import stat\n" + textwrap.dedent(seen))
    answers = run(path)
    given = {role: set(more(answers[role])["modes"]) - {".", "stderr"} for role in answers}
    assert given == {"client": {"job.json", "images.npy"}, "server": {"job.json", "program.npz"}}
    for role in answers:
        result = more(answers[role])
        assert result["modes"]["."] == 0o700
        assert result["argv"][:2] == ["-m", "private_inference.engine.party"]
        expected = {"listen": "127.0.0.1:1", "peer": "127.0.0.1:2", "settings": asdict(SETTINGS), "digest": None}
        assert result["job"] == {**expected, "role": role, "folder": str(path.parent / "work" / role)}
        assert stat.S_IMODE((path.parent / "work" / role).stat().st_mode) == 0o700
    # By content too: nothing of one's secret lies in the other's folder, whatever it is called.
    work = path.parent / "work"
    np.testing.assert_array_equal(np.load(work / "client" / "images.npy", allow_pickle=False), IMAGES)
    program, about = load_program(work / "server" / "program.npz")
    np.testing.assert_array_equal(program.steps[1].arrays["weight"], WEIGHT)
    assert about == ABOUT
    for role, foreign in (("client", WEIGHT), ("server", IMAGES)):
        held = b"".join(file.read_bytes() for file in (work / role).iterdir())
        assert foreign.tobytes()[:64] not in held


def test_what_they_found_comes_back(stub) -> None:
    answers = run(stub())
    assert {role: more(answer) for role, answer in answers.items()} == {
        "client": {"role": "client"},
        "server": {"role": "server"},
    }
    np.testing.assert_array_equal(answers["client"].logits, np.arange(10.0).reshape(2, 5))
    assert answers["server"].logits is None
    alone = stub().parent / "alone"
    alone.mkdir()
    assert list(run(stub().rename(alone / "python"), roles=("server",))) == ["server"]


def test_a_prefix_comes_before_the_command_of_its_party_alone(stub, tmp_path) -> None:
    said = 'found(side=os.environ.get("RLNET_SIDE"))'
    assignments = [
        Assignment("client", "a:1", "b:2", IMAGES, prefix=("env", "RLNET_SIDE=left")),
        Assignment("server", "b:2", "a:1", SECRETS["server"]),
    ]
    answers = run_parties(
        assignments, settings=SETTINGS, python=stub(said, said), folder=tmp_path / "work", follow=print
    )
    assert {role: more(answer)["side"] for role, answer in answers.items()} == {"client": "left", "server": None}


def test_events_arrive_in_order_and_noise_does_not(stub) -> None:
    talks = """
        print("WARNING: a library prints", flush=True)
        for number in range(200):
            tell(event="image", number=number)
            print("{half of a line", flush=True)
        sys.stdout.buffer.write(bytes([0xff, 0xfe, 10]))
        sys.stdout.flush()
        # Valid JSON, but nothing that a party says.
        for noise in ("3.14", "[1, 2]", '"text"', "true"):
            print(noise, flush=True)
        tell(event="last")
    """
    events: list[tuple[str, dict]] = []
    talks = textwrap.dedent(GOOD) + textwrap.dedent(talks)
    run(stub(talks, talks), lambda role, event: events.append((role, event.as_json())))
    expected = [*({"event": "image", "number": number} for number in range(200)), {"event": "last"}]
    for role in ("client", "server"):
        assert [event for who, event in events if who == role] == expected


@pytest.mark.parametrize("noise", ["", "null"])
def test_events_are_heard_while_they_happen(stub, noise: str) -> None:
    """The party waits for what its event makes us do; a library that prints `null` has not ended it."""
    waits = f"""
        print({noise!r}, flush=True)
        tell(event="ready")
        end = time.monotonic() + 60
        while not (folder / "heard").exists():
            if time.monotonic() > end:
                fail("error: nobody heard")
            time.sleep(0.01)
    """

    def follow(role: str, event: Event) -> None:
        (path.parent / "work" / role / "heard").touch()

    path = stub(textwrap.dedent(waits) + textwrap.dedent(GOOD))
    assert more(run(path, follow)["client"]) == {"role": "client"}


def test_a_party_is_done_once_its_result_is_written(stub) -> None:
    assert more(run(stub(GOOD, GOOD + "    os._exit(255)"))["server"]) == {"role": "server"}


# --- Who is blamed --------------------------------------------------------------------------------------------------

KILLED = "os.kill(os.getpid(), signal.SIGKILL)"
STOPPED = "os.kill(os.getpid(), signal.SIGTERM)"
STOP_LINE = "stopped by a signal (SIGTERM)"
TOLD = f'fail("error: the other party at 10.0.0.2:9500 was {STOP_LINE}")'
SPEECHLESS = "os._exit(255)"
CRASHED = "os.kill(os.getpid(), signal.SIGSEGV)"
WRONG = 'print("Traceback", file=sys.stderr)\nfail("error: the images are (3, 4, 4), the network takes (3, 8, 8)")'


@pytest.mark.parametrize(
    ("client", "server", "line"),
    [
        # The one that hangs has nothing to say.
        (WRONG, HANGS, "client: the images are (3, 4, 4), the network takes (3, 8, 8)"),
        (HANGS, WRONG, "server: the images are (3, 4, 4), the network takes (3, 8, 8)"),
        # Whoever only lost the other is the lesser witness, also where it ends first.
        (LOST, f"time.sleep(0.2)\n{WRONG}", "server: the images are (3, 4, 4), the network takes (3, 8, 8)"),
        (f"time.sleep(0.2)\n{WRONG}", UNANSWERED, "client: the images are (3, 4, 4), the network takes (3, 8, 8)"),
        # The engine itself ends a process that could not deliver a message.
        (SPEECHLESS, HANGS, "client: the other party at 127.0.0.1:2 has ended; its own last line says why"),
        (SPEECHLESS, f"time.sleep(0.2)\n{WRONG}", "server: the images are (3, 4, 4), the network takes (3, 8, 8)"),
        (LOST, CRASHED, "the server's process failed with status -11: without a word"),
        (CRASHED, HANGS, "the client's process failed with status -11: without a word"),
        ('fail("no such word", 1)', HANGS, "the client's process failed with status 1: no such word"),
        ('raise MemoryError("too much")', LOST, "the client's process failed with status 1: MemoryError: too much"),
        (STOPPED, HANGS, "client: stopped by a signal (SIGTERM)"),  # before it could say so itself
        (TOLD, f'fail("error: {STOP_LINE}", 143)', f"server: {STOP_LINE}"),
        (KILLED, HANGS, "the client's process was killed"),
        (KILLED, LOST, "the client's process was killed"),  # such as for its memory: it has no last line
        (GOOD, WRONG, "server: the images are (3, 4, 4), the network takes (3, 8, 8)"),
        (LOST, GOOD, "client: the other party at 10.0.0.2:9500 has ended; its own last line says why"),
    ],
)
def test_the_line_of_who_failed_first_hand(stub, client: str, server: str, line: str) -> None:
    with pytest.raises(UserError) as error:
        run(stub(client, server))
    assert str(error.value) == line


@pytest.mark.parametrize("how", [KeyboardInterrupt, SystemExit, ValueError])
def test_none_is_left_behind_when_we_are_interrupted(stub, how: type[BaseException]) -> None:
    def follow(role: str, event: Event) -> None:
        raise how

    path = stub(f'tell(event="linked")\n{HANGS}', HANGS)
    with pytest.raises(how):
        run(path, follow)


def test_none_is_left_behind_when_the_other_cannot_be_started(stub, tmp_path, started) -> None:
    assignments = [
        Assignment("client", "a:1", "b:2", IMAGES),
        Assignment("server", "b:2", "a:1", SECRETS["server"], prefix=(str(tmp_path / "nowhere"),)),
    ]
    with pytest.raises(OSError, match="nowhere"):
        run_parties(assignments, settings=SETTINGS, python=stub(HANGS), folder=tmp_path / "work", follow=print)
    assert [process.returncode for process in started] == [-signal.SIGTERM]


def test_parties_end_with_us_even_when_we_are_killed(stub, tmp_path) -> None:
    """Each waits at its stdin, of which we hold the other end: neither may hold that of its sibling."""
    waits = f'tell(event="linked")\nsys.stdin.buffer.read()\nPath({str(tmp_path)!r}, role + ".ended").touch()'
    path = stub(waits, waits)
    code = f"""
import sys
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
from support.stub_parties import run
run(Path({str(path)!r}), lambda role, event: print(role, flush=True))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert {parent.stdout.readline().strip() for _ in range(2)} == {"client", "server"}
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    end = time.monotonic() + 20
    while time.monotonic() < end and not all((tmp_path / f"{role}.ended").exists() for role in SECRETS):
        time.sleep(0.05)
    assert sorted(file.name for file in tmp_path.glob("*.ended")) == ["client.ended", "server.ended"]


def test_a_missing_engine_is_one_line_that_says_how_to_get_it(tmp_path) -> None:
    with pytest.raises(UserError, match="`make pi` sets it up"):
        check_engine(tmp_path / "nowhere")
    check_engine(Path(sys.executable))
