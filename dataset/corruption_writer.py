"""A folder of corrupted images of which every finished file is whole, whatever ends the process that writes it.

A piece is an array of all severities (`fog.npy`) or, for data sets of files, a folder of one severity (`fog/3`). It is
written as `fog.npy.part` or `fog/.3.part`; then manifest.json takes up its digest; then it is renamed. So what bears
its final name is finished, and a part whose digest the manifest knows lacks nothing but its name.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from PIL import Image

from dataset.corrupted_sets import MANIFEST, jpeg_bytes, read_manifest
from dataset.corruptions import corrupt
from dataset.corruptions.frost import Frost
from dataset.digests import digest
from dataset.source import FileSource, ImageSource
from formats.manifest import MANIFEST_SCHEMA, FrostRecord, Manifest
from helper.errors import UserError
from helper.files import lock_file, write_json

JPEG_BYTES = 6144  # of a file of 64x64 pixels on disk, about; noise takes more, fog takes less
GO_ON = "what is finished stays, and the same command goes on"


class Piece:
    """What is made, checked and named as one. `key` is its name in the manifest, `size` its bytes on disk."""

    def __init__(self, out: Path, key: str, part: str, corruption: str, severities: Sequence[int], images: int):
        self.key, self.path, self.part = key, out / key, out / part
        self.corruption, self.severities = corruption, tuple(severities)
        self.images = self.missing = images
        self.size = 0

    @property
    def cells(self) -> int:
        return self.images * len(self.severities)

    def write(self, start: int, rows: Sequence) -> bool:
        """Take up what `block` made of the images from `start` on; True with the last that was missing."""
        with disk_errors(self.part):
            self.fill(start, rows)
        self.missing -= len(rows[0])
        return self.missing == 0

    def fill(self, start: int, rows: Sequence) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Everything is on its way to the disk."""


class ArrayPiece(Piece):
    """`<corruption>.npy`: uint8 (severities * N, S, S, 3), one severity after the other."""

    def __init__(self, out: Path, corruption: str, severities: Sequence[int], shape: tuple[int, ...]):
        key = f"{corruption}.npy"
        super().__init__(out, key, f"{key}.part", corruption, severities, shape[0])
        self.file: BinaryIO | None = None
        self.shape = (len(severities) * shape[0], *shape[1:])
        self.row = int(np.prod(shape[1:]))
        self.size = self.row * self.shape[0] + 128

    def fill(self, start: int, rows: Sequence[np.ndarray]) -> None:
        # Written, not mapped: where the disk is full a mapping kills the process, and a write raises.
        if self.file is None:
            self.file = open(self.part, "wb")  # noqa: SIM115
            layout = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
            np.lib.format.write_array_header_1_0(self.file, layout)
            self.header = self.file.tell()
        for place, images in enumerate(rows):
            self.file.seek(self.header + (place * self.images + start) * self.row)
            self.file.write(np.ascontiguousarray(images).data)

    def close(self) -> None:
        assert self.file is not None
        with disk_errors(self.part):
            self.file.flush()
            os.fsync(self.file.fileno())  # a disk behind a network may only now say that it is full
            self.file.close()


class FolderPiece(Piece):
    """`<corruption>/<severity>/<class>/<file name>`, a JPEG for each of `names`, which are '<class>/<file name>'."""

    def __init__(self, out: Path, corruption: str, severity: int, names: Sequence[str], classes: Sequence[str]):
        hidden = f"{corruption}/.{severity}.part"
        super().__init__(out, f"{corruption}/{severity}", hidden, corruption, (severity,), len(names))
        self.names, self.classes = names, classes
        self.size = JPEG_BYTES * len(names)

    def fill(self, start: int, rows: Sequence[Sequence[bytes]]) -> None:
        if not self.part.exists():
            for name in self.classes:
                (self.part / name).mkdir(parents=True)
        for name, content in zip(self.names[start:], rows[0], strict=False):
            (self.part / name).write_bytes(content)


class LabelPiece(Piece):
    """labels.npy. There is nothing to compute: it is written when it is accepted."""

    def __init__(self, out: Path, labels: np.ndarray):
        super().__init__(out, "labels.npy", "labels.npy.part", "labels", (), len(labels))
        self.labels, self.size = labels, labels.nbytes + 128

    def close(self) -> None:
        with disk_errors(self.part), open(self.part, "wb") as file:
            np.save(file, self.labels)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; {GO_ON}") from error


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def test_set_digest(images: np.ndarray, labels: np.ndarray) -> str:
    """sha256 over images, uint8 (N, S, S, 3), and labels (N,)."""
    total = hashlib.sha256(np.ascontiguousarray(images).data)
    total.update(labels.astype("<i8").tobytes())
    return total.hexdigest()


def label_array(labels: np.ndarray, repeats: int, classes: int) -> np.ndarray:
    """labels.npy as published: uint8, the labels of the test set once for each severity."""
    return np.tile(labels.astype(np.uint8 if classes <= 255 else np.int64), repeats)


def file_names(source: ImageSource) -> list[str]:
    """'<class>/<file name>' of every image of a source of files. Raises UserError where two have the same."""
    assert isinstance(source, FileSource)
    images = zip(source.paths, source.labels, strict=True)
    names = [f"{source.classes[label]}/{Path(path).name}" for path, label in images]
    if len(set(names)) < len(names):
        raise UserError("the test set names a file twice; unpack it again")
    return names


def describe(
    dataset: str, images: np.ndarray, labels: np.ndarray, severities: list[int], seed: int, frost: Frost | None
) -> Manifest:
    """Of a folder without a finished file yet. `frost` is None while it is not used."""
    return Manifest(
        schema=MANIFEST_SCHEMA,
        generated_by="make_corruptions.py",
        dataset=dataset,
        split="test",
        images=len(images),
        image_size=images.shape[1],
        test_set=test_set_digest(images, labels),
        severities=tuple(severities),
        seed=seed,
        frost=FrostRecord(source=frost.source, digest=frost.digest) if frost else FrostRecord(),
        versions={"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__},
        files={},
    )


class OutFolder:
    """The folder that is written, locked until the process ends. `settings` is its manifest before a file is finished.

    Raises UserError for a folder that others wrote, or that other settings made, and while another process writes it.
    """

    def __init__(self, path: Path, settings: Manifest):
        self.path = path
        if path.exists() and not path.is_dir():
            raise UserError(f"--out {path} is a file, and a folder is needed")
        path.mkdir(parents=True, exist_ok=True)
        busy = f"{path}: another process is writing this folder; wait for it, or stop it"
        self.lock = lock_file(path / ".lock", busy)
        for left_over in path.glob(f".{MANIFEST}.*.tmp"):
            left_over.unlink()
        self.manifest = self._compare(read_manifest(path), settings)
        self.save()

    def _compare(self, stored: Manifest | None, settings: Manifest) -> Manifest:
        if stored is None:
            others = sorted(entry.name for entry in self.path.iterdir() if not entry.name.startswith("."))
            if others:
                raise UserError(
                    f"{self.path} holds {others[0]} and no {MANIFEST}: it was published, or made by others, and is "
                    "left alone; give another --out"
                )
            return settings
        before_it, now_it = stored.common(), settings.common()
        if stored.frost.source and settings.frost.source:
            before_it["frost"], now_it["frost"] = stored.frost, settings.frost
        for name, before in before_it.items():
            if before != now_it[name]:
                was, is_now = in_words(before), in_words(now_it[name])
                raise UserError(f"{self.path} was made with {name} {was}, not {is_now}; give that, or another --out")
        for name in ("numpy", "pillow"):
            before, now = stored.versions.get(name), settings.versions[name]
            if before != now:
                print(f"warning: {self.path} was begun with {name} {before}, and this is {now}: bytes may differ")
        return stored if stored.frost.source else stored.model_copy(update={"frost": settings.frost})

    def save(self) -> None:
        write_json(self.path / MANIFEST, self.manifest.as_json())

    def finished(self, piece: Piece) -> bool:
        """Whether the piece is there and intact. What is there of it and is not is out of the way afterwards."""
        known = self.manifest.files.get(piece.key)
        if piece.path.exists():
            if known is None:
                raise UserError(f"{piece.path} is not in {MANIFEST}: others made it; move it, or give another --out")
            if digest(piece.path) == known:
                return True
            print(f"{piece.path} is damaged, and made anew", flush=True)
            # Away from its name at once: a folder takes long to delete.
            remove(piece.part)
            piece.path.rename(piece.part)
        elif known and piece.part.exists() and digest(piece.part) == known:
            piece.part.rename(piece.path)
            return True
        remove(piece.part)
        return False

    def check_room(self, pieces: Iterable[Piece]) -> None:
        """Raises UserError where the disk has no room for them."""
        needed, free = sum(piece.size for piece in pieces), shutil.disk_usage(self.path).free
        print(f"{needed:,} bytes to write, {free:,} are free", flush=True)
        if needed > free:
            raise UserError(f"{self.path}: {needed:,} bytes are needed, {free:,} are free; give another --out")

    def accept(self, piece: Piece) -> None:
        """The part is whole: let the manifest know it, then give it its name."""
        piece.close()
        self.manifest = self.manifest.with_file(piece.key, digest(piece.part))
        self.save()
        piece.part.rename(piece.path)


def in_words(value: object) -> str:
    if isinstance(value, FrostRecord):
        return f"{value.source} ({str(value.digest)[:12]})"
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)[:12]


def block(
    images: np.ndarray,
    seed: int,
    frost: Frost | None,
    as_files: bool,
    corruption: str,
    severities: Sequence[int],
    start: int,
    stop: int,
) -> list:
    """What a piece takes up of images[start:stop]: for each severity an array (n, S, S, 3), or n JPEG files."""
    rows = [
        corrupt(images[start:stop], corruption, severity, seed=seed, indices=np.arange(start, stop), frost=frost)
        for severity in severities
    ]
    return [[jpeg_bytes(Image.fromarray(image)) for image in row] for row in rows] if as_files else rows
