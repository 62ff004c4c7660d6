"""Corrupted test sets: published or generated arrays, folders of images, or images corrupted as they are read.

    arrays   <corruption>.npy, uint8 (5 * N, S, S, 3), severity s in rows (s - 1) * N to s * N, and labels.npy, which
             has the N test labels five times: CIFAR-10-C
    files    <corruption>/<severity>/<class>/<image>, also one folder further down: Tiny-ImageNet-C, ImageNet-C

(Hendrycks & Dietterich, ICLR 2019). A data set's spec says which. A manifest.json beside them says that
make_corruptions.py wrote them.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dataset.corruptions import SEVERITIES, corrupt
from dataset.corruptions.frost import Frost
from dataset.crops import fitted
from dataset.digests import differing
from dataset.source import ArraySource, ImageSource, Subset, folder_source, folders
from dataset.spec import DatasetSpec
from formats.manifest import Manifest
from formats.measured import Origin
from helper.errors import UserError
from helper.files import map_array, read_record

JPEG_QUALITY = 85  # that of the published folders
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Provenance:
    """Where corrupted images come from. `origin`: published, generated or generated on the fly.

    `frost`: photographs or procedural; None where the publisher made it, or nobody has yet.
    """

    origin: str
    folder: str | None = None
    seed: int | None = None
    frost: str | None = None

    def record(self) -> Origin:
        """What files say of it."""
        return Origin(**asdict(self))


class CorruptedSet:
    """Every corruption of one test set. `in_memory`: its images are read in no time."""

    in_memory = False

    def __init__(self, provenance: Provenance, severities: Sequence[int]):
        self.provenance = provenance
        self.severities = tuple(severities)

    def source(self, corruption: str, severity: int) -> ImageSource:
        """The images of one cell of the benchmark, in the test set's order where that is known."""
        raise NotImplementedError

    def identity(self, corruption: str, severity: int) -> str:
        """What tells these images from others of that name: a digest, or where they lie, or how they are made."""
        raise NotImplementedError

    def verify(self, corruptions: Sequence[str], severities: Sequence[int]) -> None:
        """Raises UserError where stored images are not those that were written, as far as somebody says what was."""


class StoredSet(CorruptedSet):
    """A benchmark in `folder`, made of the images of `test`. `manifest`: None where it was published."""

    def __init__(self, folder: Path, manifest: Manifest | None, test: ImageSource, image_size: int):
        if manifest:
            provenance = Provenance("generated", str(folder), manifest.seed, manifest.frost.source)
        else:
            provenance = Provenance("published", str(folder))
        super().__init__(provenance, manifest.severities if manifest else SEVERITIES)
        self.folder, self.test, self.image_size = folder, test, image_size
        self.digests = manifest.files if manifest else {}
        self.remedy = "run make_corruptions.py again" if manifest else "unpack the whole archive there"

    def file(self, corruption: str, severity: int) -> str:
        """The file or folder that holds these images, as a manifest names it."""
        raise NotImplementedError

    def identity(self, corruption: str, severity: int) -> str:
        return self.digests.get(self.file(corruption, severity), f"published in {self.folder}")

    def check(self, corruptions: Sequence[str], severities: Sequence[int]) -> None:
        """Raises UserError, naming them, where images are missing or of another layout."""
        raise NotImplementedError

    def verify(self, corruptions: Sequence[str], severities: Sequence[int]) -> None:
        names = dict.fromkeys(self.file(corruption, severity) for corruption in corruptions for severity in severities)
        wanted = {name: self.digests[name] for name in names if name in self.digests}
        if odd := differing(self.folder, wanted):
            raise UserError(
                f"{self.folder / odd[0]} is not what its {MANIFEST} says, damaged or changed since; run "
                "make_corruptions.py again, which mends it, or add --no_verify"
            )


class ArraySet(StoredSet):
    """One .npy a corruption, mapped from disk one at a time."""

    in_memory = True

    def file(self, corruption: str, severity: int) -> str:
        return f"{corruption}.npy"

    def check(self, corruptions: Sequence[str], severities: Sequence[int]) -> None:
        files = [f"{name}.npy" for name in (*corruptions, "labels")]
        # What is there and not in the manifest is not finished.
        missing = [
            file for file in files if not (self.folder / file).is_file() or (self.digests and file not in self.digests)
        ]
        if missing:
            raise UserError(f"{self.folder} lacks {', '.join(missing)}; {self.remedy}")
        path, count = self.folder / "labels.npy", len(self.severities)
        labels = map_array(path)
        if labels.shape != (count * len(self.test),):
            raise UserError(
                f"{path} has {labels.dtype} {labels.shape}; {count} severities of {len(self.test):,} test images need "
                f"({count * len(self.test)},)"
            )
        if not np.array_equal(labels, np.tile(self.test.labels, count)):
            raise UserError(f"{path} holds other labels than the test set; is this its benchmark?")
        for corruption in corruptions:
            self.array(corruption)

    def array(self, corruption: str) -> np.ndarray:
        """uint8 (severities * N, S, S, 3)."""
        path = self.folder / f"{corruption}.npy"
        images = map_array(path)
        expected = (len(self.severities) * len(self.test), self.image_size, self.image_size, 3)
        if images.dtype != np.uint8 or images.shape != expected:
            raise UserError(f"{path} is {images.dtype} {images.shape}; this test set needs uint8 {expected}")
        return images

    def source(self, corruption: str, severity: int) -> ArraySource:
        start = self.severities.index(severity) * len(self.test)
        return ArraySource(self.array(corruption)[start : start + len(self.test)], self.test.labels)


class FolderSet(StoredSet):
    """A folder of image files a corruption, severity and class."""

    def file(self, corruption: str, severity: int) -> str:
        return f"{corruption}/{severity}"

    def check(self, corruptions: Sequence[str], severities: Sequence[int]) -> None:
        for corruption in corruptions:
            for severity in severities:
                self.cell(corruption, severity)

    def cell(self, corruption: str, severity: int) -> Path:
        # The published archives of ImageNet-C may be unpacked each into its own folder: noise/, blur/, ...
        for parent in (self.folder, *(self.folder / name for name in folders(self.folder))):
            path = parent / corruption / str(severity)
            if path.is_dir():
                break
        else:
            raise UserError(f"{self.folder} lacks {corruption}/{severity}/; {self.remedy}")
        if sorted(self.test.classes) != folders(path):
            odd = sorted(set(self.test.classes) ^ set(folders(path)))[0]
            raise UserError(f"{path}: its class folders are not those of the data set; '{odd}' is in one of them only")
        return path

    def source(self, corruption: str, severity: int) -> ImageSource:
        """In the test set's order where the files are named alike, so that the first images are the same ones."""
        path = self.cell(corruption, severity)
        found = folder_source([path / name for name in self.test.classes], self.image_size)
        if not len(found):
            raise UserError(f"{path} holds no images")
        places = {Path(file).name: place for place, file in enumerate(found.paths)}
        names = [Path(file).name for file in getattr(self.test, "paths", ())]
        return Subset(found, [places[name] for name in names]) if set(names) == set(places) else found


LAYOUTS: dict[str, type[StoredSet]] = {"arrays": ArraySet, "files": FolderSet}


class GeneratedSource(ImageSource):
    """The images of `test`, corrupted as they are read: the very bytes that make_corruptions.py writes."""

    def __init__(self, test: ImageSource, corruption: str, severity: int, seed: int, frost: Frost, as_jpeg: bool):
        super().__init__(test.labels, test.classes)
        self.test, self.corruption, self.severity = test, corruption, severity
        self.seed, self.frost, self.as_jpeg = seed, frost, as_jpeg

    def image(self, index: int) -> Image.Image:
        return self.batch([index])[0]

    def batch(self, indices: Sequence[int]) -> list[Image.Image]:
        pixels = np.stack([np.asarray(image) for image in self.test.batch(indices)])
        corrupted = corrupt(pixels, self.corruption, self.severity, seed=self.seed, indices=indices, frost=self.frost)
        images = [Image.fromarray(image) for image in corrupted]
        return [through_jpeg(image) for image in images] if self.as_jpeg else images


class GeneratedSet(CorruptedSet):
    def __init__(self, spec: DatasetSpec, test: ImageSource, severities: Sequence[int], seed: int, frost: Frost):
        super().__init__(Provenance("generated on the fly", seed=seed, frost=frost.source), severities)
        self.test, self.seed, self.frost = fitted(test, spec), seed, frost
        self.as_jpeg = spec.corrupted_layout == "files"

    def source(self, corruption: str, severity: int) -> GeneratedSource:
        return GeneratedSource(self.test, corruption, severity, self.seed, self.frost, self.as_jpeg)

    def identity(self, corruption: str, severity: int) -> str:
        frost = f", frost {self.frost.digest}" if corruption == "frost" else ""
        return f"generated with seed {self.seed}{frost}"


class HeldSet(CorruptedSet):
    """The images of another set, each made or read once and then held in memory: for many networks on the same ones."""

    in_memory = True

    def __init__(self, corrupted: CorruptedSet):
        super().__init__(corrupted.provenance, corrupted.severities)
        self.corrupted = corrupted
        self.held: dict[tuple[str, int], ArraySource] = {}

    def source(self, corruption: str, severity: int) -> ArraySource:
        cell = (corruption, severity)
        if cell not in self.held:
            made = self.corrupted.source(*cell)
            pixels = np.stack([np.asarray(image) for image in made.batch(range(len(made)))])
            self.held[cell] = ArraySource(pixels, made.labels, made.classes)
        return self.held[cell]

    def identity(self, corruption: str, severity: int) -> str:
        return self.corrupted.identity(corruption, severity)


def open_corrupted_set(
    spec: DatasetSpec, folder: Path, test: ImageSource, corruptions: Sequence[str], severities: Sequence[int]
) -> CorruptedSet | None:
    """The benchmark of a data set in `folder`, ready for these corruptions and severities; None without a folder.

    Raises UserError, before anything is measured, for a folder that lacks one of them, and for files of another layout,
    another data set or other labels.
    """
    if not folder.is_dir():
        return None
    if not any(folder.iterdir()):
        raise UserError(f"{folder} is empty; unpack the benchmark there, or write it: make_corruptions.py")
    manifest = read_manifest(folder)
    stored = manifest.severities if manifest else SEVERITIES
    if manifest and manifest.dataset != spec.name:
        raise UserError(f"{folder} was generated from {manifest.dataset}, this network classifies {spec.name}")
    missing = sorted(set(severities) - set(stored))
    if missing:
        raise UserError(f"{folder} has severities {in_words(stored)}, not {in_words(missing)}; choose --severities")
    if spec.corrupted_layout == "files" and not test.classes:
        raise UserError(f"{folder}: the class folders of this test set are not known by name")
    found = LAYOUTS[spec.corrupted_layout](folder, manifest, test, spec.image_size)
    found.check(corruptions, severities)
    return found


def read_manifest(folder: Path) -> Manifest | None:
    """What make_corruptions.py says of its folder; None where it did not write it."""
    path = folder / MANIFEST
    return read_record(path, Manifest) if path.exists() else None


def jpeg_bytes(image: Image.Image) -> bytes:
    """The file that a published folder would hold."""
    content = io.BytesIO()
    image.save(content, "JPEG", quality=JPEG_QUALITY)
    return content.getvalue()


def through_jpeg(image: Image.Image) -> Image.Image:
    return Image.open(io.BytesIO(jpeg_bytes(image))).convert("RGB")


def in_words(numbers: Sequence[int]) -> str:
    return ", ".join(str(number) for number in numbers)
