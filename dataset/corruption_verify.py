"""Compares a corrupted test set with another one of the same images: bytes where nothing is drawn, else statistics.

The published arrays were drawn without a seed. So the random corruptions are compared image by image in what does not
hang on a single draw: the mean and the standard deviation of the change, change = corrupted - clean, the standard
deviation of the pixels (their mean says no more than that of the change), and how far the mean change of one image lies
from another's. For each, z = mean(a_i - b_i) / (std(a_i - b_i) / sqrt(N)) over the N images, a and b the two sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dataset.corrupted_sets import MANIFEST, read_manifest
from dataset.corruption_writer import test_set_digest
from dataset.corruptions import CORRUPTIONS, DETERMINISTIC, EXTRA_CORRUPTIONS, SEVERITIES
from dataset.source import image_file
from helper.errors import UserError
from helper.files import map_array
from helper.text import table

# Deterministic corruptions: libraries round differently, by one grey level. JPEG files of two encoders differ more.
IDENTICAL = 98.5
LARGEST = {"arrays": 1, "files": 16}
# Random ones: a shift is none of chance beyond Z standard errors, and of no weight below SHIFT grey levels.
Z, SHIFT = 5.0, 0.1
TOLERANCE = (
    f"Deterministic corruptions agree where {IDENTICAL} % of the bytes are identical and none is more than "
    f"{LARGEST['arrays']} grey level off ({LARGEST['files']} in JPEG files); random ones where no statistic is off by "
    f"more than {SHIFT} grey levels and |z| {Z:.0f}. mean, std: of the change, corrupted - clean; pixels: std of the "
    "corrupted images; spread: std of the mean change over the images; this set / the other."
)
HEAD = ["corruption", "severity", "identical %", "largest", "mean", "std", "pixels", "spread", "|z|", "verdict"]
CHUNK = 1000


class Benchmark:
    """A folder of corrupted images. `files`: None for arrays; the '<class>/<name>' of every image for JPEG files.

    Raises UserError for labels that are not those of the test set, and for a missing folder.
    """

    def __init__(self, folder: Path, images: np.ndarray, labels: np.ndarray, files: Sequence[str] | None):
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder")
        self.folder, self.shape, self.files = folder, images.shape, files
        self.manifest = read_manifest(folder)
        self.severities = list(self.manifest.severities if self.manifest else SEVERITIES)
        if self.manifest and self.manifest.test_set != test_set_digest(images, labels):
            raise UserError(f"{folder} was made from another test set")
        if files is None:
            stored = self.array("labels")
            expected = np.tile(labels, len(self.severities))
            if stored.shape != expected.shape:
                raise UserError(f"{folder / 'labels.npy'} holds {stored.shape} labels, not {expected.shape}")
            wrong = np.flatnonzero(stored != expected)
            if len(wrong):
                raise UserError(
                    f"{folder / 'labels.npy'} differs from the test set in {len(wrong):,} labels, first in row "
                    f"{wrong[0]}: {stored[wrong[0]]}, not {expected[wrong[0]]}"
                )

    @property
    def procedural_frost(self) -> bool:
        return self.manifest is not None and self.manifest.frost.source == "procedural"

    def corruptions(self) -> list[str]:
        """Those that the manifest names as finished. Raises UserError where there is no manifest."""
        if self.manifest is None:
            raise UserError(f"{self.folder} has no {MANIFEST}: nothing was written there yet")
        made = {key.removesuffix(".npy").partition("/")[0] for key in self.manifest.files}
        return [name for name in (*CORRUPTIONS, *EXTRA_CORRUPTIONS) if name in made]

    def array(self, name: str) -> np.ndarray:
        path = self.folder / f"{name}.npy"
        if not path.is_file():
            raise UserError(f"{self.folder} lacks {path.name}")
        return map_array(path)

    def check(self, corruption: str) -> None:
        """Raises UserError where something is missing, before much time was spent on what is not."""
        if self.files is None:
            stored, expected = self.array(corruption), (len(self.severities) * self.shape[0], *self.shape[1:])
            if stored.dtype != np.uint8 or stored.shape != expected:
                path = self.folder / f"{corruption}.npy"
                raise UserError(f"{path} is {stored.dtype} {stored.shape}, not uint8 {expected}")
            return
        for severity in self.severities:
            cell = self.folder / corruption / str(severity)
            missing = set(self.files) - {file.relative_to(cell).as_posix() for file in cell.glob("*/*")}
            if missing:
                raise UserError(f"{cell} lacks {len(missing):,} of {len(self.files):,} files, such as {min(missing)}")

    def rows(self, corruption: str, severity: int, start: int, stop: int) -> np.ndarray:
        """uint8 (n, S, S, 3): the images from `start` on, in the order of the test set."""
        if self.files is None:
            first = self.severities.index(severity) * self.shape[0]
            return self.array(corruption)[first + start : first + min(stop, self.shape[0])]
        cell = self.folder / corruption / str(severity)
        return np.stack([read_image(cell / name, self.shape[1]) for name in self.files[start:stop]])


def read_image(path: Path, size: int) -> np.ndarray:
    with image_file(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    if pixels.shape != (size, size, 3):
        raise UserError(f"the image {path} has {pixels.shape[1]}x{pixels.shape[0]} pixels, not {size}x{size}")
    return pixels


def per_image(corrupted: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """float (3, n) of uint8 (n, S, S, 3): mean and std of the change, std of the pixels, in grey levels."""
    pixels = corrupted.reshape(len(corrupted), -1).astype(np.float32)
    change = pixels - clean.reshape(len(clean), -1)
    return np.stack([change.mean(1), change.std(1), pixels.std(1)]).astype(np.float64)


def z_score(a: np.ndarray, b: np.ndarray) -> float:
    difference = a - b
    if not difference.any():
        return 0.0
    error = difference.std(ddof=1) / np.sqrt(len(difference)) if len(difference) > 1 else 0.0
    return abs(difference.mean()) / error if error else np.inf


def compare(ours: np.ndarray, theirs: np.ndarray) -> tuple[list[tuple[float, float]], float, bool]:
    """((ours, theirs) for every statistic, the largest |z|, whether they agree), from (3, N) of `per_image` each."""
    pairs = [(a, b, a.mean(), b.mean()) for a, b in zip(ours, theirs, strict=True)]
    squares = [(values[0] - values[0].mean()) ** 2 for values in (ours, theirs)]
    pairs.append((*squares, *(np.sqrt(square.mean()) for square in squares)))
    scores = [z_score(a, b) for a, b, _, _ in pairs]
    agree = all(z <= Z or abs(a - b) <= SHIFT for z, (_, _, a, b) in zip(scores, pairs, strict=True))
    return [(a, b) for _, _, a, b in pairs], max(scores), agree


def compare_cell(
    ours: Benchmark, theirs: Benchmark, name: str, severity: int, images: np.ndarray
) -> tuple[list[str], bool]:
    """(a row as HEAD says, whether the two agree)."""
    identical, largest, statistics = 0, 0, []
    for start in range(0, len(images), CHUNK):
        clean = images[start : start + CHUNK]
        a, b = (side.rows(name, severity, start, start + CHUNK) for side in (ours, theirs))
        identical += int(np.count_nonzero(a == b))
        largest = max(largest, int((np.maximum(a, b) - np.minimum(a, b)).max()))
        statistics.append((per_image(a, clean), per_image(b, clean)))
    share = 100 * identical / images.size
    values, z, agrees = compare(*(np.concatenate(side, axis=1) for side in zip(*statistics, strict=True)))
    if name in DETERMINISTIC:
        agrees = share >= IDENTICAL and largest <= LARGEST["arrays" if ours.files is None else "files"]
    verdict = "identical" if share == 100 else "agrees" if agrees else "DIFFERS"
    if name == "frost" and (ours.procedural_frost or theirs.procedural_frost):
        verdict, agrees = "not judged (procedural)", True
    shown = [f"{a:.2f} / {b:.2f}" for a, b in values]
    # Floor, so that 100 is said of nothing else.
    return [name, str(severity), f"{int(share * 1000) / 1000:.3f}", str(largest), *shown, f"{z:.1f}", verdict], agrees


def verify(
    ours: Benchmark, theirs: Benchmark, corruptions: Sequence[str] | None, images: np.ndarray, bar_options: dict
) -> tuple[str, bool]:
    """(a table of every corruption and severity with what follows from it, whether all of them agree).

    `corruptions`: None for all of ours. `images` are the clean ones, uint8 (N, S, S, 3). Raises UserError for files
    that are missing or of another layout.
    """
    corruptions = corruptions or ours.corruptions()
    for name in corruptions:
        ours.check(name)
        theirs.check(name)
    severities = [severity for severity in ours.severities if severity in theirs.severities]
    cells = [(name, severity) for name in corruptions for severity in severities]
    if not cells:
        raise UserError(f"{ours.folder} and {theirs.folder} have no corruption and severity in common")
    rows, differing = [HEAD], []
    with tqdm(cells, "verify", unit="cell", **bar_options) as bar:
        for name, severity in bar:
            row, agrees = compare_cell(ours, theirs, name, severity, images)
            rows.append(row)
            if not agrees:
                differing.append(f"{name} {severity}")
    verdict = f"{len(differing)} of {len(cells)} differ: {', '.join(differing)}"
    return f"{table(rows)}\n\n{TOLERANCE}\n{verdict if differing else 'All that is judged agrees.'}", not differing
