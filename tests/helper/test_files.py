"""One door for all that is read: whatever a name stands for ends at once, in what the file holds or in one line."""

from __future__ import annotations

import ast
import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from helper.checkpoint import read_file
from helper.errors import UserError
from helper.files import (
    Kind,
    file_digest,
    load_arrays,
    map_array,
    open_file,
    read_json,
    read_yaml,
    real_path,
    replace_file,
)

ROOT = Path(__file__).parents[2]
READERS = {"Image.open", "json.load", "np.fromfile", "np.load", "np.loadtxt", "np.memmap", "torch.load", "yaml.load"}
# Of bytes in memory or an open file; the system's own files; what the engine writes as we read; our scripts.
ELSEWHERE = {
    ("helper/checkpoint.py", "torch.load"),
    ("dataset/source.py", "Image.open"),
    ("dataset/corrupted_sets.py", "Image.open"),
    ("dataset/corruptions/digital.py", "Image.open"),
    ("helper/machine.py", "info.read_text"),
    ("helper/machine.py", "membership.read_text"),
    ("helper/machine.py", "file.read_text"),
    ("private_inference/engine/spu_runtime.py", "open"),
    ("rlnet_command.py", "Path(spec.origin).read_text"),
}
PLAIN = np.arange(12, dtype=np.float32).reshape(3, 4)


def reads(call: ast.Call) -> bool:
    """Whether this call may open a file to read it, or fail over links in a circle."""
    name = ast.unparse(call.func)
    if name in ("open", "io.open"):
        return not any(isinstance(word, ast.Constant) and str(word.value)[:1] in "wa" for word in call.args[1:])
    return name in READERS or name.endswith((".safe_load", ".read_text", ".read_bytes", ".resolve"))


def test_nothing_else_opens_a_file_to_read_it():
    found = set()
    for path in [*ROOT.glob("*.py"), *ROOT.glob("[!.]*/**/*.py")]:
        place = path.relative_to(ROOT).as_posix()
        if not place.startswith("tests/") and place != "helper/files.py":
            calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
            found |= {(place, ast.unparse(call.func)) for call in calls if reads(call)}
    assert found == ELSEWHERE


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, Path]:
    """Everything but a file, by what its line says of it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    return {
        "a pipe": tmp_path / "fifo",
        "levels of symbolic links": tmp_path / "loop",
        "a folder": tmp_path / "folder",
        "a device": Path("/dev/zero"),
        "no such": tmp_path / "missing",
        "name too long": tmp_path / ("x" * 300),
        "cannot be the name": tmp_path / "\0",
        r"cannot be the name of a file \('utf-8": tmp_path / "\ud800",
    }


@pytest.mark.timeout(20)
@pytest.mark.parametrize("read", [read_json, read_yaml, map_array, load_arrays, file_digest])
def test_what_is_no_file_is_refused_at_once(read, odd):
    for says, path in odd.items():
        with pytest.raises(UserError, match=says):
            read(path)


def test_a_file_too_large_for_its_kind_is_not_read(tmp_path):
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(Kind.YAML.limit + 1)  # a hole: it takes no place
    with pytest.raises(UserError, match=r"131,073 bytes are too many; a YAML file has at most 131,072"):
        read_yaml(tmp_path / "huge")
    open_file(tmp_path / "huge", Kind.JSON).close()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x [1]\nb: *x", "line 1: an anchor or an alias"),
        ("a: *x", "an anchor or an alias"),
        ("[" * 40 + "]" * 40, "nested more than 32"),
        ("a: 1e999", "line 1: 1e999 is no finite number"),
        ("a: [1, .inf]", r"\.inf is no finite number"),
        ("a: -.NaN", "no finite number"),
        ("a: " + "9" * 5000, "no finite number"),
        (r'a: "\ud800"', "surrogates not allowed"),
        (r'a: "\U00110000"', "not a YAML file"),
        ("a: 2001-99-99", "not a YAML file"),
        ("a: !!timestamp x", "not a YAML file"),
        ("a: !!python/object/apply:os.system [true]", "not a YAML file"),
        ("a: [1", "not a YAML file"),
    ],
)
def test_a_yaml_file_holds_plain_values(text, says, tmp_path):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match=says):
        read_yaml(tmp_path / "x.yaml")


def test_every_yaml_file_of_the_repository_is_one():
    for path in [*(ROOT / "sensitivity").glob("*.yaml"), *(ROOT / "reproduce").glob("*.yaml")]:
        assert read_yaml(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "1" * 5000, r'{"a": "\ud800"}', r'["\uDfff x"]', '{"a": 1} 2', "\ufeff{}"]
)
def test_a_damaged_json_file_is_one_line(text, tmp_path):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.json: not an index, or a damaged one \(.*\); remove it$"):
        read_json(tmp_path / "x.json", "an index", "remove it")
    (tmp_path / "x.json").write_text(r'{"a": "\ud83d\ude00 \\ud800"}')
    assert read_json(tmp_path / "x.json") == {"a": "\U0001f600 \\ud800"}


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    size = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + size + text.encode()


def layout(shape: str, descr: str = "'<f4'") -> str:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"


DAMAGED = {
    "cut": header(layout("(3, 4)")) + PLAIN.tobytes()[:-1],
    "longer": header(layout("(3, 4)")) + PLAIN.tobytes() + b"0",
    "negative": header(layout("(-3, -4)")) + PLAIN.tobytes(),
    "overflowing": header(layout(f"({2**62}, 4)")) + PLAIN.tobytes(),
    "words": header(layout("(3, 'x')")) + PLAIN.tobytes(),
    "truths": header(layout("(None, 4)")) + PLAIN.tobytes(),
    "deep": header(layout("(" * 150 + ")" * 150)),
    "signs": header(layout("(" + "-" * 9000 + "3,)")),
    "objects": header(layout("(3,)", "'|O'")) + bytes(24),
    "records": header(layout("(3,)", "[('a', '<f8')]")) + bytes(24),
    "long header": header(layout("(3, 4)"), b"\x02\x00")[:8] + b"\xff\xff\xff\x7f" + bytes(99),
    "version": header(layout("(3, 4)"), b"\x09\x00") + PLAIN.tobytes(),
    "empty": b"",
    "zip": None,
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_the_header_of_an_array_is_held_against_its_file(damage, tmp_path):
    path = tmp_path / "x.npy"
    content = DAMAGED[damage]
    if content is None:
        with open(path, "wb") as file:
            np.savez(file, a=PLAIN)
    else:
        path.write_bytes(content)
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.writestr("a.npy", content)
        with pytest.raises(UserError, match=r"x\.npz: not a file of arrays"):
            load_arrays(tmp_path / "x.npz")
    with pytest.raises(UserError, match=r"x\.npy is no array file, or a damaged one"):
        map_array(path)


@pytest.mark.parametrize("array", [PLAIN, PLAIN.T, np.array("text"), np.zeros((0, 3), bool), np.array(7)])
def test_arrays_are_read_as_they_were(array, tmp_path):
    np.save(tmp_path / "x.npy", array)
    np.savez_compressed(tmp_path / "x.npz", a=array)
    for found in (map_array(tmp_path / "x.npy"), load_arrays(tmp_path / "x.npz")["a"]):
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert np.array_equal(found, array)
    with pytest.raises(ValueError, match="read-only"):
        map_array(tmp_path / "x.npy")[...] = 0


def zeros(compression: int, size: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr("archive/data.pkl", bytes(size))
    return content.getvalue()


def test_archives_do_not_unpack_to_more_than_they_are(tmp_path, monkeypatch):
    (tmp_path / "bomb.pth").write_bytes(zeros(zipfile.ZIP_DEFLATED, 10**7))
    with pytest.raises(UserError, match=r"refused, for its .* bytes unpack to 10,000,000"):
        read_file(tmp_path / "bomb.pth")
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(10**6))
    monkeypatch.setattr(Kind.ARRAYS, "limit", 10**6)
    with pytest.raises(UserError, match=r"it unpacks to 8,000,128 bytes"):
        load_arrays(tmp_path / "bomb.npz")


def test_a_checkpoint_comes_through_the_door(tmp_path, odd):
    for says, path in odd.items():
        with pytest.raises(UserError, match=says):
            read_file(path)
    torch.save({"a": torch.ones(2)}, tmp_path / "x.pth")
    assert read_file(tmp_path / "x.pth")["a"].sum() == 2


def test_links_in_a_circle_are_for_whoever_opens_them(odd):
    """`Path.resolve` raises a RuntimeError of its own."""
    assert real_path(odd["levels of symbolic links"]) == odd["levels of symbolic links"]


def test_nothing_but_a_file_is_replaced(odd):
    for path in (odd["a pipe"], odd["a folder"], Path("/dev/null")):
        with pytest.raises(UserError, match="where a file is to be written"):
            replace_file(path, lambda file: file.write(b"x"))
    assert not list(odd["a folder"].parent.glob(".*"))
