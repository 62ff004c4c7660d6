"""Folders of corrupted images: what an interruption leaves, what is made anew, and whose folders are left alone."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_make_corruptions import NAMES, N, contents, in_child, kill, kill_at_the_second, one_line, status
from test_make_corruptions import images as images  # a fixture that every test uses

import make_corruptions
from dataset import corruption_writer
from dataset.corruption_writer import ArrayPiece, OutFolder, digest
from helper.files import lock_file

USAGE = namedtuple("usage", "total used free")


def marks(out: Path) -> dict[str, tuple[int, int]]:
    """What changes of a file when it is written again, under its final name."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("*.npy")}


@pytest.mark.parametrize(
    ("place", "moment"),
    [(ArrayPiece, "fill"), (ArrayPiece, "close"), (os, "replace"), (Path, "rename"), (corruption_writer, "digest")],
)
def test_killed_at_any_moment_it_goes_on(place, moment, tmp_path, monkeypatch):
    assert status(tmp_path / "whole") == 0
    assert status(tmp_path / "C", names=["pixelate"]) == 0
    before = marks(tmp_path / "C")
    with monkeypatch.context() as patch:
        patch.setattr(place, moment, kill_at_the_second(getattr(place, moment)))
        assert in_child(tmp_path / "C").exitcode == -signal.SIGKILL
    known = json.loads((tmp_path / "C" / "manifest.json").read_text())["files"]
    finished = marks(tmp_path / "C")
    assert len(finished) < 4
    assert before.items() <= finished.items()
    assert all(known[name] == digest(tmp_path / "C" / name) for name in finished)
    assert status(tmp_path / "C") == 0
    assert contents(tmp_path / "C") == contents(tmp_path / "whole")
    assert finished.items() <= marks(tmp_path / "C").items()


def test_workers_end_with_the_process(tmp_path, monkeypatch):
    (tmp_path / "workers").mkdir()

    def slow(*_, **__):
        (tmp_path / "workers" / str(os.getpid())).touch()
        time.sleep(20)

    monkeypatch.setattr(corruption_writer, "corrupt", slow)
    child = in_child(tmp_path / "C", seconds=0)
    deadline = time.monotonic() + 10
    while len(workers := [int(path.name) for path in (tmp_path / "workers").iterdir()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    child.kill()
    while any(alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives the process that it works for"
        time.sleep(0.05)
    child.join()


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_one_line(number, tmp_path, monkeypatch, capfd):
    accept = OutFolder.accept

    def interrupted(folder, piece):
        accept(folder, piece)
        if piece.key != "labels.npy":  # the first one to be finished, whichever that is
            os.killpg(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(OutFolder, "accept", interrupted)
        assert in_child(tmp_path / "C").exitcode == 0
    finished = marks(tmp_path / "C")
    assert "labels.npy" in finished
    assert 2 <= len(finished) < 4
    last = capfd.readouterr().out.splitlines()[-1]
    assert last == f"stopped: {len(finished)} of 4 files are finished; {corruption_writer.GO_ON}"
    assert status(tmp_path / "C") == 0
    assert f"{4 - len(finished)} files made, {len(finished)} skipped" in capfd.readouterr().out
    assert finished.items() <= marks(tmp_path / "C").items()


def test_a_damaged_file_is_made_anew(tmp_path, capsys):
    out = tmp_path / "C"
    assert status(out) == 0
    whole, before = contents(out), marks(out)
    with open(out / "contrast.npy", "r+b") as file:
        file.seek(5000)
        file.write(bytes([file.read(1)[0] ^ 1]))
    assert contents(out) != whole
    capsys.readouterr()
    assert status(out) == 0
    assert "contrast.npy is damaged" in capsys.readouterr().out
    assert contents(out) == whole
    assert {name for name, mark in marks(out).items() if mark != before[name]} == {"contrast.npy"}


def test_a_part_is_taken_where_it_is_whole(tmp_path, monkeypatch):
    out = tmp_path / "C"
    assert status(out) == 0
    whole, before = contents(out), marks(out)
    for name in NAMES:
        (out / f"{name}.npy").rename(out / f"{name}.npy.part")
    with open(out / "contrast.npy.part", "ab") as file:
        file.write(b"x")
    computed = []
    fill = ArrayPiece.fill
    monkeypatch.setattr(ArrayPiece, "fill", lambda piece, *rest: (computed.append(piece.key), fill(piece, *rest)))
    assert status(out) == 0
    assert contents(out) == whole
    assert set(computed) == {"contrast.npy"}
    assert {name for name, mark in marks(out).items() if mark != before[name]} == {"contrast.npy"}


@pytest.mark.slow
def test_other_settings_are_refused_and_other_corruptions_added(tmp_path, images, capsys):
    out = tmp_path / "C"
    assert status(out, names=["contrast"]) == 0
    before = contents(out)
    for options, words in {
        ("--seed", "1"): "made with seed 0, not 1",
        ("--severities", "1", "2"): "severities 1 2 3 4 5, not 1 2",
        ("--dataset", "digits"): "dataset cifar10, not digits",
    }.items():
        assert status(out, *options) == 2
        assert words in one_line(capsys)
    images[0, 0, 0, 0] ^= 1
    assert status(out) == 2
    assert "made with test_set" in one_line(capsys)
    images[0, 0, 0, 0] ^= 1
    assert contents(out) == before
    assert status(out, names=["pixelate"]) == 0
    assert before.items() - contents(out).items() == {("manifest.json", before["manifest.json"])}


@pytest.mark.slow
def test_two_kinds_of_frost_are_not_mixed(tmp_path, capsys):
    photographs = tmp_path / "frost"
    photographs.mkdir()
    for number in range(1, 6):
        Image.fromarray(np.full((240, 240, 3), 40 * number, np.uint8)).save(photographs / f"frost{number}.png")
    assert status(tmp_path / "C") == 0  # no frost, hence of no kind
    assert status(tmp_path / "C", "--frost_dir", photographs, names=["frost"]) == 0
    assert "procedural" not in capsys.readouterr().out
    assert status(tmp_path / "C", names=["frost"]) == 2
    assert "made with frost photographs" in (line := one_line(capsys))
    assert "not procedural" in line
    assert status(tmp_path / "C", names=["fog"]) == 0
    assert status(tmp_path / "D", names=["frost"]) == 0
    assert "NOT COMPARABLE" in capsys.readouterr().out
    manifests = [json.loads((tmp_path / folder / "manifest.json").read_text()) for folder in "CD"]
    assert [manifest["frost"]["source"] for manifest in manifests] == ["photographs", "procedural"]


def test_what_others_made_is_left_alone(tmp_path, capsys):
    out = tmp_path / "C"
    out.mkdir()
    np.save(out / "fog.npy", np.zeros(3))
    assert status(out) == 2
    assert "holds fog.npy and no manifest.json" in one_line(capsys)
    assert status(tmp_path / "D", names=["contrast"]) == 0
    shutil.copy(out / "fog.npy", tmp_path / "D")
    assert status(tmp_path / "D", names=["fog"]) == 2
    assert "fog.npy is not in manifest.json" in one_line(capsys)
    assert digest(out / "fog.npy") == digest(tmp_path / "D" / "fog.npy")


@pytest.mark.parametrize("content", ["{", "[]", '{"schema": "x"}', '{"schema": "rlnet-corruptions-1", "files": {}}'])
def test_a_damaged_manifest_is_refused(content, tmp_path, capsys):
    (tmp_path / "manifest.json").write_text(content)
    assert status(tmp_path) == 2
    assert "manifest.json" in one_line(capsys)


def test_two_at_once(tmp_path, capsys):
    with lock_file(tmp_path / ".lock", "busy"):
        assert status(tmp_path) == 2
        assert "another process is writing this folder" in one_line(capsys)
    assert status(tmp_path) == 0


@pytest.mark.parametrize("place", [(ArrayPiece, "fill"), (os, "fsync")])
def test_a_full_disk(place, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    assert status(tmp_path / "C", names=["contrast"]) == 0
    before = contents(tmp_path / "C")
    with monkeypatch.context() as patch:
        patch.setattr(*place, full)
        assert status(tmp_path / "C") == 2
        assert "No space left on device" in one_line(capsys)
    left = {name: value for name, value in contents(tmp_path / "C").items() if not name.endswith(".part")}
    assert left == before
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: USAGE(0, 0, 1000))
        assert status(tmp_path / "C") == 2
        assert f"{2 * (5 * N * 3072 + 128):,} bytes are needed, 1,000 are free" in one_line(capsys)
    assert status(tmp_path / "C") == 0


def test_a_worker_that_is_killed_or_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(corruption_writer, "corrupt", kill)
    assert status(tmp_path / "C") == 2
    assert "a worker was killed" in one_line(capsys)
    monkeypatch.setattr(corruption_writer, "corrupt", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError) as error:
        make_corruptions.main(make_corruptions.parse_args(["--dataset", "cifar10", "--out", str(tmp_path / "C")]))
    assert "in block" in error.value.__notes__[0]
