"""A file that is not what its manifest says is found; one that was compared before is not read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataset import digests
from dataset.digests import COMPARED, differing, digest


@pytest.fixture
def wanted(tmp_path: Path) -> dict[str, str]:
    """The digests of a file, and of a folder of two."""
    (tmp_path / "fog.npy").write_bytes(bytes(1000))
    (tmp_path / "fog" / "3").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "fog" / "3" / name).write_text(name)
    return {key: digest(tmp_path / key) for key in ("fog.npy", "fog/3")}


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(("file", "key"), [("fog.npy", "fog.npy"), ("fog/3/b.jpg", "fog/3")])
def test_one_bit_is_found_also_after_a_comparison(file, key, again, wanted, tmp_path):
    if again:
        assert differing(tmp_path, wanted) == []
    flip(tmp_path / file)
    assert differing(tmp_path, wanted) == [key]
    assert differing(tmp_path, wanted) == [key], "what differs is not noted as intact"


def test_what_was_compared_is_not_read_again(wanted, tmp_path, monkeypatch):
    assert differing(tmp_path, wanted) == []
    monkeypatch.setattr(digests, "digest", None)
    assert differing(tmp_path, wanted) == []
    with pytest.raises(TypeError):  # another digest is wanted, of the same file
        differing(tmp_path, {**wanted, "fog.npy": "0" * 64})


@pytest.mark.parametrize("note", ["", "[]", '{"fog.npy": 5}', '{"fog.npy": "' + "0" * 64 + '"}'])
def test_a_note_of_somebody_else_s_costs_time_alone(note, wanted, tmp_path):
    (tmp_path / COMPARED).write_text(note)
    flip(tmp_path / "fog.npy")
    assert differing(tmp_path, wanted) == ["fog.npy"]
