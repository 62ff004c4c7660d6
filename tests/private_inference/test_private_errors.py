"""What goes wrong in private inference ends with status 2 and one line that says why, at both parties and soon."""

from __future__ import annotations

from helper.script import run_script

import json
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from support.running import ROOT
from support.secure_runs import BRANCH, Files, needs_engine

from formats.checkpoint import Checkpoint
from helper.checkpoint import save_checkpoint
from helper.errors import UserError
from measure_private_inference import main, parse_args
from models.restore import describe_model
from private_inference.costs.measurement import Bench, free_ports, load_subject
from private_inference.costs.pins import PinnedPrograms
from private_inference.engine.parties import ENGINE_PYTHON, Assignment
from private_inference.engine.protocols import EngineSettings, settle_set_up

APART = "--listen 127.0.0.1:9500 --peer 127.0.0.1:9501"
PATIENCE = 90  # seconds, many times what any of these takes: whoever is not done by then hangs


@pytest.fixture
def refused(capsys, tmp_path) -> Iterator[Callable[[str], str]]:
    """refused(options) -> the one line; no party is started, so any program will do as the engine."""
    handler = signal.getsignal(signal.SIGTERM)

    def check(options: str) -> str:
        words = shlex.split(f"--engine_python {sys.executable} --save_dir {tmp_path} {options}")
        with pytest.raises(SystemExit) as stop:
            run_script(main, lambda: parse_args(words))
        (line,) = capsys.readouterr().err.splitlines()
        assert stop.value.code == 2
        assert line.startswith("error: ")
        return line

    yield check
    signal.signal(signal.SIGTERM, handler)


# --- Before anything is run -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("", "--path: name one or more checkpoints"),
        ("--path nowhere.pth", "nowhere.pth: no such checkpoint file"),
        ("--path {masked} --branch 2", "--branch 2: {masked} trained the branches 0, 1"),
        ("--path {masked} --engine_python nowhere", "nowhere is missing; `make pi`"),
        ("--path {masked} --images 356", "--images 356: the test set of Digits has 355"),
        ("--path {masked} --images 0", "0 is not 1 or more"),
        ("--path {masked} --network fast", "'fast' is no network: lan, wan, or Mbit/s"),
        ("--path {masked} --network 0,4", "'0,4' is no network"),
        ("--path {masked} --protocol aby3", "invalid choice: 'aby3'"),
        ("--path {masked} --emulate", "--emulate measures over one network; name it"),
        ("--path {masked} --emulate --network lan wan", "--emulate measures over one network"),
        ("--path {masked} --estimate-only", "--estimate-only needs a network"),
        ("--path {masked} --role server", "--role server needs --listen and --peer"),
        ("--path {masked} --role server --listen 127.0.0.1:9500", "--role server needs --peer"),
        ("--dataset digits --role client --listen 127.0.0.1:9500", "--role client needs --peer"),
        ("--path {masked} --peer 127.0.0.1:9500", "--peer: only with --role"),
        ("--path {masked} --digest abc --dataset digits", "--digest, --dataset: only with --role"),
        ("--path {masked} --role client --dataset digits " + APART, "the network is the server's secret"),
        ("--role client " + APART, "--role client takes --dataset"),
        ("--role server " + APART, "--path: name the checkpoint"),
        ("--path {masked} {full} --role server " + APART, "--path: name the checkpoint"),
        ("--path {masked} --role server --digest abc " + APART, "and --digest are the client's"),
        ("--path {masked} --role server --batch 2 " + APART, "--batch and --digest are the client's"),
        ("--path {masked} --images 3 --batch 2", "--images 3 is no multiple of --batch 2"),
        ("--path {masked} --comparison 16", "invalid choice: 16"),
        ("--path {masked} --tls a b c", "--tls: only with --role"),
        ("--role client --dataset digits --tls a b c " + APART, "--tls: a, b, c: no such file"),
        ("--path {masked} --role server --emulate --network lan " + APART, "run on one machine, without --role"),
        ("--dataset digits --role client --network lan " + APART, "--network, --emulate and --estimate-only run on"),
        ("--role client --dataset digits --listen 9500 --peer a:1", "'9500' is no address; write host:port"),
        ("--role client --dataset digits --listen a:1 --peer a:0", "'a:0' is no address"),
        ("--role client --dataset digits --listen a:1 --peer a:65536", "'a:65536' is no address"),
    ],
)
def test_options_that_cannot_be_are_one_line(refused, files, options: str, complaint: str) -> None:
    paths = {"masked": files["masked"], "full": files["full"]}
    assert complaint.format(**paths) in refused(options.format(**paths))


def test_foreign_files_are_one_line(refused, files, tmp_path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "state.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    save_checkpoint(tmp_path / "bare.pth", Checkpoint(**describe_model("resnet8", files.models["masked"])))
    assert "bare.pth does not name its data set; one of" in refused(f"--path {tmp_path / 'bare.pth'}")
    assert "no checkpoint of this project" in refused(f"--path {tmp_path / 'state.pth'}")
    assert "not a checkpoint, or a damaged one" in refused(f"--path {tmp_path / 'text.pth'}")


def test_a_folder_with_another_file_of_that_name_is_left_alone(refused, files, tmp_path) -> None:
    folder = tmp_path / "private_inference" / "mine"
    folder.mkdir(parents=True)
    (folder / "private_inference.json").write_text('{"schema": "other"}')
    assert "schema is 'other'" in refused(f"--path {files['masked']} --run_name mine")
    assert (folder / "private_inference.json").read_text() == '{"schema": "other"}'


# --- Between two parties --------------------------------------------------------------------------------------------


def tell(found: dict[str, str], bench: Bench, assignment: Assignment) -> None:
    try:
        bench.run([assignment])
    except UserError as error:
        found[assignment.role] = str(error)


def bench(protocol: str) -> Bench:
    return Bench(ENGINE_PYTHON, EngineSettings(protocol, set_up=settle_set_up(protocol, "yacl"), timeout=60))


def disagree(files: Files, protocols: tuple[str, str], asked: str | None = None) -> tuple[dict[str, str], str]:
    """What client and server, each started alone, complain about; the digest of the server's program."""
    subject = load_subject(files["masked"], BRANCH, fused=True, save_dir="save")
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    images = np.zeros((1, 3, 32, 32), dtype=np.float32)
    assignments = [
        Assignment("client", addresses[0], addresses[1], images, asked),
        Assignment("server", addresses[1], addresses[0], (subject.program, subject.about)),
    ]
    found: dict[str, str] = {}
    threads = [
        threading.Thread(target=tell, args=(found, bench(protocol), assignment), daemon=True)
        for protocol, assignment in zip(protocols, assignments, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not [thread for thread in threads if thread.is_alive()]
    return found, subject.digest


@pytest.mark.slow
@needs_engine
def test_a_client_that_asks_for_another_program(files) -> None:
    asked = "0" * 64
    found, own = disagree(files, ("semi2k", "semi2k"), asked)
    assert found == {
        "client": f"client: the server's program has the digest {own}, {asked} was expected; nothing was sent. "
        f"If its owner says that it has changed: --digest {own}",
        "server": f"server: the client does not agree to this program (it expects another digest than {own})",
    }


@needs_engine
def test_two_protocols(files) -> None:
    found, _ = disagree(files, ("semi2k", "cheetah"))
    line = "the other party runs protocol {}, this one {}; make them the same"
    assert found == {
        "client": f"client: {line.format('cheetah', 'semi2k')}",
        "server": f"server: {line.format('semi2k', 'cheetah')}",
    }


# The other party is played by a link that says what one of another version would.
OTHER_VERSION = """
import json, sys
from helper.errors import UserError
from private_inference.engine.party import Job, agree
from private_inference.engine.protocols import EngineSettings

class Link:
    def all_gather(self, mine):
        said = json.loads(mine)
        return [mine, json.dumps({**said, sys.argv[1]: json.loads(sys.argv[2])})]

job = Job("client", "a:1", "b:2", ".", EngineSettings("cheetah"))
try:
    agree(Link(), job, 3)
except UserError as error:
    print(error)
"""


@needs_engine
@pytest.mark.parametrize(("what", "theirs"), [("version", 99), ("engine", "SPU 0.1"), ("fraction_bits", 12)])
def test_two_versions(what: str, theirs: str | int) -> None:
    words = [str(ENGINE_PYTHON), "-c", OTHER_VERSION, what, json.dumps(theirs)]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert said.startswith(f"the other party runs {what} {theirs}, this one ")


@pytest.mark.parametrize("content", ["{", "[1]", "3"])
def test_a_damaged_list_of_known_programs_is_one_line(content, tmp_path):
    path = tmp_path / "private_inference" / "known_programs.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(UserError, match="not a list of known programs"):
        PinnedPrograms(str(tmp_path))
