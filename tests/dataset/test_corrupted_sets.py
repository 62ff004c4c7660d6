"""Published and generated layouts of corrupted test sets, and what is said of any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset import ArraySource, FileSource, dataset_spec
from dataset.corrupted_sets import GeneratedSet, HeldSet, Provenance, open_corrupted_set, through_jpeg
from dataset.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from dataset.corruptions.frost import load_frost
from helper.errors import UserError

IMAGES = 4
NAMES = list(CORRUPTIONS)
NO_DIGEST = "0" * 64
FILES = {f"{name}.npy": NO_DIGEST for name in (*NAMES, "labels")}


def small_test_set(size: int = 32) -> ArraySource:
    pixels = np.random.default_rng(0).integers(256, size=(IMAGES, size, size, 3), dtype=np.uint8)
    return ArraySource(pixels, [0, 1, 0, 1], ["cat", "dog"])


def save_arrays(folder: Path, severities=SEVERITIES) -> None:
    """Image i of severity s is all 10 * s + i."""
    folder.mkdir()
    values = np.array([10 * severity + image for severity in severities for image in range(IMAGES)], dtype=np.uint8)
    images = np.broadcast_to(values[:, None, None, None], (len(values), 32, 32, 3))
    for name in CORRUPTIONS:
        np.save(folder / f"{name}.npy", images)
    np.save(folder / "labels.npy", np.tile(small_test_set().labels.astype(np.uint8), len(severities)))


def save_manifest(folder: Path, **more) -> None:
    manifest = {"schema": "rlnet-corruptions-1", "dataset": "cifar10", "severities": list(SEVERITIES), "seed": 3}
    manifest |= {"frost": {"source": "procedural", "digest": "0"}, "files": FILES, "versions": {}}
    manifest |= {"split": "test", "images": IMAGES, "image_size": 32, "test_set": NO_DIGEST}
    (folder / "manifest.json").write_text(json.dumps(manifest | more))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_arrays(tmp_path / "CIFAR-10-C")
    return tmp_path / "CIFAR-10-C"


def open_arrays(folder: Path, severities=SEVERITIES, names=NAMES, test=None):
    return open_corrupted_set(dataset_spec("cifar10"), folder, test or small_test_set(), names, severities)


def test_a_severity_is_its_fifth_of_the_array(folder):
    found = open_arrays(folder)
    for severity in SEVERITIES:
        source = found.source("fog", severity)
        assert source.labels.tolist() == [0, 1, 0, 1]
        assert source.image(2).getpixel((5, 5)) == (10 * severity + 2,) * 3
        assert isinstance(source.images.base, np.memmap)
    assert found.provenance == Provenance("published", str(folder), seed=None, frost=None)


def test_generated_arrays_say_so_and_may_have_fewer_severities(tmp_path):
    folder = tmp_path / "made"
    save_arrays(folder, severities=(2, 4))
    save_manifest(folder, severities=[2, 4])
    found = open_arrays(folder, severities=[4])
    assert found.source("snow", 4).image(1).getpixel((0, 0)) == (41,) * 3
    assert found.provenance.origin == "generated"
    assert (found.provenance.seed, found.provenance.frost) == (3, "procedural")
    with pytest.raises(UserError, match="has severities 2, 4, not 3; choose --severities"):
        open_arrays(folder, severities=[3, 4])
    save_manifest(folder, severities=[2, 4], files={**FILES, "snow.npy": "1" * 64})
    again = open_arrays(folder, severities=[4])
    assert again.identity("snow", 4) != found.identity("snow", 4)
    assert again.identity("fog", 4) == found.identity("fog", 4)  # and so it is not measured again
    save_manifest(folder, severities=[2, 4], files={"labels.npy": NO_DIGEST})
    with pytest.raises(UserError, match=r"lacks gaussian_noise\.npy, .*; run make_corruptions\.py again"):
        open_arrays(folder, severities=[4])


def test_no_folder_is_no_error_but_an_empty_one_is(tmp_path):
    assert open_arrays(tmp_path / "nowhere") is None
    with pytest.raises(UserError, match=r"is empty; .*make_corruptions\.py"):
        open_arrays(tmp_path)


def test_a_missing_corruption_is_named(folder):
    (folder / "fog.npy").unlink()
    with pytest.raises(UserError, match=r"CIFAR-10-C lacks fog\.npy; unpack the whole archive"):
        open_arrays(folder)
    assert open_arrays(folder, names=["snow"])


@pytest.mark.parametrize(
    "content", [np.zeros((20, 64, 64, 3), np.uint8), np.zeros((20, 32, 32, 3)), np.zeros((15, 32, 32, 3), np.uint8)]
)
def test_an_array_of_another_layout_is_refused(content, folder):
    np.save(folder / "snow.npy", content)
    with pytest.raises(UserError, match=r"snow\.npy is .* needs uint8 \(20, 32, 32, 3\)"):
        open_arrays(folder)


def test_a_damaged_array_is_refused(folder):
    (folder / "snow.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(UserError, match=r"snow\.npy is no array file, or a damaged one"):
        open_arrays(folder)


def test_labels_of_another_length_or_set_are_refused(folder):
    np.save(folder / "labels.npy", np.zeros(19, np.uint8))
    with pytest.raises(UserError, match=r"labels\.npy has uint8 \(19,\); 5 severities of 4 test images need \(20,\)"):
        open_arrays(folder)
    np.save(folder / "labels.npy", np.ones(20, np.uint8))
    with pytest.raises(UserError, match=r"labels\.npy holds other labels than the test set"):
        open_arrays(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "cifar100"}, "was generated from cifar100, this network classifies cifar10"),
        ({"schema": "other"}, r"manifest\.json: not a manifest of make_corruptions\.py"),
    ],
)
def test_a_manifest_of_something_else_is_refused(change, message, folder):
    save_manifest(folder, **change)
    with pytest.raises(UserError, match=message):
        open_arrays(folder)


def save_folders(top: Path, size: int, value: int = 9) -> None:
    for name in ("fog", "snow"):
        for severity in SEVERITIES:
            for label, wnid in enumerate(("n01", "n02")):
                (top / name / str(severity) / wnid).mkdir(parents=True)
                pixels = np.full((size, size, 3), value * severity + label, np.uint8)
                Image.fromarray(pixels).save(top / name / str(severity) / wnid / "a.png")


@pytest.mark.parametrize(("name", "size", "inside"), [("tiny_imagenet", 64, ""), ("imagenet", 224, "weather")])
def test_folders_of_images_also_one_further_down(name, size, inside, tmp_path):
    save_folders(tmp_path / inside, size)
    test = ArraySource(np.zeros((2, 1, 1, 3), np.uint8), [0, 1], ["n01", "n02"])
    found = open_corrupted_set(dataset_spec(name), tmp_path, test, ["fog", "snow"], SEVERITIES)
    source = found.source("snow", 3)
    assert source.labels.tolist() == [0, 1]
    assert source.image(1).getpixel((0, 0)) == (28, 28, 28)
    with pytest.raises(UserError, match="lacks frost/1/; unpack the whole archive"):
        open_corrupted_set(dataset_spec(name), tmp_path, test, ["frost"], SEVERITIES)
    test.classes = ("n01", "n03")
    with pytest.raises(UserError, match="'n02' is in one of them only"):
        open_corrupted_set(dataset_spec(name), tmp_path, test, ["fog"], SEVERITIES)


def test_files_named_alike_are_in_the_test_set_s_order(tmp_path):
    for severity in SEVERITIES:
        for wnid, name, value in (("n01", "b", 1), ("n02", "a", 2), ("n01", "c", 3)):
            path = tmp_path / "fog" / str(severity) / wnid / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((64, 64, 3), value, np.uint8)).save(path)
    test = FileSource([Path(f"{name}.png") for name in "cab"], [0, 1, 0], classes=["n01", "n02"])
    source = open_corrupted_set(dataset_spec("tiny_imagenet"), tmp_path, test, ["fog"], SEVERITIES).source("fog", 2)
    assert [image.getpixel((0, 0))[0] for image in source.batch(range(3))] == [3, 2, 1]
    assert source.labels.tolist() == [0, 1, 0]
    test.paths[0] = "other.png"
    found = open_corrupted_set(dataset_spec("tiny_imagenet"), tmp_path, test, ["fog"], SEVERITIES).source("fog", 2)
    assert found.labels.tolist() == [0, 0, 1]  # by class: nothing tells which image is which


def test_corrupted_on_the_fly_are_the_generator_s_images():
    test, frost = small_test_set(), load_frost(None, 32)
    source = GeneratedSet(dataset_spec("cifar10"), test, SEVERITIES, 5, frost).source("glass_blur", 3)
    expected = corrupt(test.images, "glass_blur", 3, seed=5, frost=frost)
    assert np.array_equal(np.stack([np.asarray(image) for image in source.batch([2, 0])]), expected[[2, 0]])
    assert np.array_equal(np.asarray(source.image(1)), expected[1])


def test_held_images_are_the_same_and_made_once():
    test, frost = small_test_set(), load_frost(None, 32)
    made = GeneratedSet(dataset_spec("cifar10"), test, [3], 5, frost)
    held = HeldSet(made)
    source = held.source("glass_blur", 3)
    assert np.array_equal(
        source.images, np.stack([np.asarray(made.source("glass_blur", 3).image(i)) for i in range(4)])
    )
    assert source.labels.tolist() == test.labels.tolist()
    assert held.source("glass_blur", 3) is source
    assert held.source("fog", 3) is not source
    assert held.identity("glass_blur", 3) == made.identity("glass_blur", 3)


def test_tiny_imagenet_s_pass_through_jpeg_as_published():
    test, frost = small_test_set(64), load_frost(None, 64)
    source = GeneratedSet(dataset_spec("tiny_imagenet"), test, SEVERITIES, 0, frost).source("contrast", 1)
    plain = Image.fromarray(corrupt(test.images, "contrast", 1)[3])
    assert np.array_equal(np.asarray(source.image(3)), np.asarray(through_jpeg(plain)))
    assert not np.array_equal(np.asarray(source.image(3)), np.asarray(plain))
