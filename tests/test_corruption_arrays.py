"""The published layout of corrupted test sets, and what is said of any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataset.corruption_arrays import CORRUPTIONS, SEVERITIES, corrupted_source, find_corruptions
from helper.errors import UserError

IMAGES = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Image i of severity s is all 10 * s + i."""
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    values = np.array([10 * severity + image for severity in SEVERITIES for image in range(IMAGES)], dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (len(values), 32, 32, 3))
    for name in CORRUPTIONS:
        np.save(folder / f"{name}.npy", images)
    np.save(folder / "labels.npy", np.tile(np.arange(IMAGES, dtype=np.uint8), len(SEVERITIES)))
    return folder


def test_a_severity_is_its_fifth_of_the_array(folder):
    assert len(CORRUPTIONS) == 15
    assert find_corruptions("cifar10", folder.parent) == folder
    for severity in SEVERITIES:
        source = corrupted_source(folder, "fog", severity, 32)
        assert len(source) == IMAGES
        assert source.labels.tolist() == [0, 1, 2, 3]
        assert source.image(2).getpixel((5, 5)) == (10 * severity + 2,) * 3


def test_no_folder_is_no_error(tmp_path):
    assert find_corruptions("cifar10", tmp_path) is None
    assert find_corruptions("digits", tmp_path) is None


def test_a_missing_corruption_is_named(folder):
    (folder / "fog.npy").unlink()
    with pytest.raises(UserError, match=r"CIFAR-10-C lacks fog\.npy; unpack the whole archive"):
        find_corruptions("cifar10", folder.parent)


@pytest.mark.parametrize(
    "content", [np.zeros((20, 64, 64, 3), np.uint8), np.zeros((20, 32, 32, 3)), np.zeros((15, 32, 32, 3), np.uint8)]
)
def test_an_array_of_another_layout_is_refused(content, folder):
    np.save(folder / "snow.npy", content)
    with pytest.raises(UserError, match=r"snow\.npy is .* labels\.npy makes that uint8 \(20, 32, 32, 3\)"):
        corrupted_source(folder, "snow", 1, 32)


def test_a_damaged_array_is_refused(folder):
    (folder / "snow.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"snow\.npy is no array file, or a damaged one"):
        corrupted_source(folder, "snow", 1, 32)
