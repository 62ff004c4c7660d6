"""make_corruptions.py: the layout and bytes that it writes, wrong options, and --verify."""

from __future__ import annotations

from helper.script import run_script

import gc
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import make_corruptions
from dataset.corruption_writer import digest
from dataset.corruptions import CORRUPTIONS, EXTRA_CORRUPTIONS, corrupt
from dataset.source import ArraySource, FileSource

N = 12
NAMES = ["gaussian_noise", "contrast", "pixelate"]
TINY = {"dataset": "tiny_imagenet", "names": ["gaussian_noise", "pixelate"]}


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Twelve images, a task for each five of them, in place of every data set. Signal handlers are put back."""
    rng = np.random.default_rng(0)
    smooth = rng.integers(40, 200, (N, 4, 4, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    images = smooth + rng.integers(0, 30, smooth.shape, dtype=np.uint8)
    source = ArraySource(images, np.arange(N) % 10, [str(number) for number in range(10)])
    monkeypatch.setattr(make_corruptions, "load_dataset", lambda *_, **__: source)
    monkeypatch.setattr(make_corruptions, "BLOCK", 5)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield images
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def tiny(images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileSource:
    """The same in 64 pixels, in files; class n2 has no image."""
    paths = [tmp_path / f"val_{index}.JPEG" for index in range(N)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image.repeat(2, 0).repeat(2, 1)).save(path, "PNG")
    source = FileSource(paths, np.arange(N) % 2, 64, ["n0", "n1", "n2"])
    monkeypatch.setattr(make_corruptions, "load_dataset", lambda *_, **__: source)
    return source


def status(out: Path, *options: str, names: list[str] = NAMES, dataset: str = "cifar10") -> int:
    """The exit status of the command."""
    words = ["--dataset", dataset, "--out", str(out), "--workers", "2", "--corruptions", *names, *map(str, options)]
    with pytest.raises(SystemExit) as stop:
        run_script(make_corruptions.main, lambda: make_corruptions.parse_args(words))
    code = stop.value.code or 0
    del stop
    gc.collect()  # the lock of the folder, which else ends with the process
    return code


def contents(out: Path) -> dict[str, str]:
    """{relative name: digest} of everything but the lock."""
    return {
        file.relative_to(out).as_posix(): digest(file)
        for file in sorted(out.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }


def in_child(out: Path, *words, seconds: float = 60, **options) -> multiprocessing.Process:
    """The command in a process, and a process group, of its own, with everything that was patched here."""

    def command() -> None:
        os.setpgid(0, 0)
        os._exit(status(out, *words, **options))

    child = multiprocessing.get_context("fork").Process(target=command)
    child.start()
    child.join(seconds)
    return child


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("error")]
    assert len(lines) == 1
    return lines[0]


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_the_second(function):
    calls = []

    def wrapped(*arguments):
        calls.append(arguments)
        return kill() if len(calls) > 1 else function(*arguments)

    return wrapped


def test_the_layout_is_the_published_one(tmp_path, images):
    assert status(tmp_path / "C", "--severities", "5", "2", "--seed", "3") == 0
    for name in NAMES:
        stored = np.load(tmp_path / "C" / f"{name}.npy")
        alone = [corrupt(images, name, severity, seed=3) for severity in (2, 5)]
        assert stored.dtype == np.uint8
        assert np.array_equal(stored, np.concatenate(alone))
    labels = np.load(tmp_path / "C" / "labels.npy")
    assert labels.dtype == np.uint8
    assert labels.tolist() == [*(np.arange(N) % 10), *(np.arange(N) % 10)]
    manifest = json.loads((tmp_path / "C" / "manifest.json").read_text())
    assert manifest["schema"] == "rlnet-corruptions-1"
    assert (manifest["severities"], manifest["images"], manifest["seed"], manifest["image_size"]) == ([2, 5], N, 3, 32)
    files = {key: value for key, value in contents(tmp_path / "C").items() if key != "manifest.json"}
    assert manifest["files"] == files
    assert set(files) == {*(f"{name}.npy" for name in NAMES), "labels.npy"}
    assert files["contrast.npy"] == hashlib.sha256((tmp_path / "C" / "contrast.npy").read_bytes()).hexdigest()


def test_groups_of_corruptions(tmp_path):
    assert status(tmp_path / "C", "--severities", "1", names=["extra", "fog"]) == 0
    assert status(tmp_path / "C", "--severities", "1", names=["all"]) == 0
    assert {path.stem for path in (tmp_path / "C").glob("*.npy")} == {*CORRUPTIONS, *EXTRA_CORRUPTIONS, "labels"}


def test_bytes_hang_on_the_seed_and_on_no_number_of_workers(tmp_path, monkeypatch):
    for folder, options in {"a": (), "b": ("--workers", "1"), "c": ("--seed", "1")}.items():
        assert status(tmp_path / folder, *options) == 0
        monkeypatch.setattr(make_corruptions, "BLOCK", 7)
    a, b, c = (contents(tmp_path / folder) for folder in "abc")
    assert a == b
    assert {name for name in a if a[name] != c[name]} == {"gaussian_noise.npy", "manifest.json"}


@pytest.mark.slow
def test_wrong_values_end_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for out, options, words in (
        (tmp_path / "file", {}, "is a file"),
        (tmp_path / "file" / "C", {}, "Not a directory"),
        (tmp_path / "C", {"names": ["haze"]}, "jpeg_compression"),
        (tmp_path / "C", {"dataset": "imagenet"}, "constants exist for 32 and 64 pixels only"),
        (tmp_path / "C", {"dataset": "mnist"}, "tiny_imagenet"),
    ):
        assert status(out, **options) == 2
        assert words in one_line(capsys)
    for option in (
        ("--severities", "0"),
        ("--severities", "6"),
        ("--frost_dir", tmp_path / "none"),
        ("--workers", "0"),
    ):
        assert status(tmp_path / "C", *option) == 2
        assert str(option[1]) in one_line(capsys)
    assert not (tmp_path / "C").exists()


def test_folders_of_files(tiny, tmp_path, monkeypatch, capsys):
    assert status(tmp_path / "whole", "--severities", "1", "4", **TINY) == 0
    whole = contents(tmp_path / "whole")
    files = [f"n{index % 2}/val_{index}.JPEG" for index in range(N)]
    cells = [f"{name}/{severity}" for name in TINY["names"] for severity in (1, 4)]
    assert set(whole) == {"manifest.json", *(f"{cell}/{file}" for cell in cells for file in files)}
    assert sorted(path.name for path in (tmp_path / "whole" / "pixelate" / "4").iterdir()) == ["n0", "n1", "n2"]
    with Image.open(tmp_path / "whole" / "pixelate" / "4" / files[7]) as stored:
        assert stored.format == "JPEG"
        expected = corrupt(np.asarray(tiny.image(7))[None], "pixelate", 4)[0]
        assert np.abs(np.asarray(stored).astype(int) - expected).mean() < 8
        Image.fromarray(expected).save(tmp_path / "85.jpg", quality=85)
        assert (tmp_path / "85.jpg").read_bytes() == (tmp_path / "whole" / "pixelate" / "4" / files[7]).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", kill_at_the_second(Path.rename))
        child = in_child(tmp_path / "C", "--severities", "1", "4", "--workers", "1", **TINY)
        assert child.exitcode == -signal.SIGKILL
    assert sorted(path.name for path in (tmp_path / "C" / "gaussian_noise").iterdir()) == [".4.part", "1"]
    (tmp_path / "C" / cells[0] / files[3]).unlink()
    capsys.readouterr()
    assert status(tmp_path / "C", "--severities", "1", "4", **TINY) == 0
    assert "gaussian_noise/1 is damaged" in capsys.readouterr().out
    assert contents(tmp_path / "C") == whole


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """An empty folder for what `pair` makes once."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def pair(made, tmp_path) -> tuple[Path, Path]:
    """What we made, and what 'others' made with another seed."""
    for folder, seed in (("C", 0), ("official", 1)):
        if not (made / folder).exists():
            assert status(made / folder, "--seed", seed, names=[*NAMES, "frost"]) == 0
        shutil.copytree(made / folder, tmp_path / folder)
    (tmp_path / "official" / "manifest.json").unlink()
    return tmp_path / "C", tmp_path / "official"


def edit(path: Path, change) -> None:
    np.save(path, change(np.load(path)))


def shift_one_byte(by: int):
    def shift(array: np.ndarray) -> np.ndarray:
        array.flat[3 * N * 3072 + 17] ^= by
        return array

    return shift


def test_verify_agrees_with_another_draw(pair, capsys):
    edit(pair[1] / "contrast.npy", shift_one_byte(1))
    edit(pair[1] / "frost.npy", np.zeros_like)
    before = contents(pair[0])
    assert status(pair[0], "--verify", pair[1], names=[*NAMES, "frost"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "All that is judged agrees." in lines
    rows = {tuple(line.split()[:2]): line.split() for line in lines if line.startswith((*NAMES, "frost"))}
    assert len(rows) == 20
    assert rows["contrast", "4"][2:4] == ["99.997", "1"]
    assert {name: rows[name, "4"][-1] for name in NAMES} == {
        "gaussian_noise": "agrees",
        "contrast": "agrees",
        "pixelate": "identical",
    }
    assert rows["frost", "1"][-3:] == ["not", "judged", "(procedural)"]
    assert contents(pair[0]) == before


@pytest.mark.parametrize(
    ("name", "change", "differing"),
    [
        ("contrast", shift_one_byte(64), "1 of 15 differ: contrast 4"),
        ("pixelate", lambda array: array // 2, "5 of 15 differ: pixelate 1, pixelate 2"),
        ("gaussian_noise", lambda array: np.minimum(array, 250) + 5, "5 of 15 differ: gaussian_noise 1"),
        ("gaussian_noise", lambda array: np.roll(array, N, 0), "5 of 15 differ: gaussian_noise 1"),
    ],
)
def test_verify_sees_other_bytes_and_other_statistics(name, change, differing, pair, capsys):
    edit(pair[1] / f"{name}.npy", change)
    assert status(pair[0], "--verify", pair[1]) == 1
    assert differing in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("labels", lambda array: np.where(np.arange(5 * N) == 30, 9, array), "differs from the test set in 1 labels"),
        ("labels", lambda array: array[:-1], "labels.npy holds"),
        ("contrast", lambda array: array[:-1], "contrast.npy is uint8 (59, 32, 32, 3), not uint8 (60, 32, 32, 3)"),
        ("contrast", lambda array: array.astype(float), "contrast.npy is float64"),
        ("contrast", None, "lacks contrast.npy"),
        ("", None, "is no folder"),
    ],
)
def test_verify_says_what_cannot_be_compared(name, change, words, pair, capsys):
    if change:
        edit(pair[1] / f"{name}.npy", change)
    elif name:
        (pair[1] / f"{name}.npy").unlink()
    else:
        shutil.rmtree(pair[1])
    assert status(pair[0], "--verify", pair[1]) == 2
    assert words in one_line(capsys)


@pytest.mark.slow
def test_verify_of_files(tiny, tmp_path, capsys):
    for folder, seed in (("C", 0), ("official", 1)):
        assert status(tmp_path / folder, "--severities", "1", "4", "--seed", seed, **TINY) == 0
    assert status(tmp_path / "C", "--verify", tmp_path / "official", **TINY) == 0
    image = tmp_path / "official" / "pixelate" / "4" / "n1" / "val_3.JPEG"
    Image.new("RGB", (64, 64), "white").save(image, "JPEG")
    assert status(tmp_path / "C", "--verify", tmp_path / "official", **TINY) == 1
    assert "1 of 4 differ: pixelate 4" in capsys.readouterr().out
    image.unlink()
    assert status(tmp_path / "C", "--verify", tmp_path / "official", **TINY) == 2
    assert "lacks 1 of 12 files, such as n1/val_3.JPEG" in one_line(capsys)
