"""A folder of one's own images: what is measured of it, what a checkpoint keeps, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.folders import make_folder, save_image

from dataset import dataset_spec, load_dataset
from dataset.corrupted_sets import GeneratedSet
from dataset.corruptions.frost import load_frost
from dataset.folder import measure
from formats.checkpoint import Description, ModelRecord
from helper.errors import UserError
from models.restore import checkpoint_data


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    measure.cache_clear()  # the folders of two tests may have one name
    return make_folder(tmp_path / "pets", train=6, test=2, sizes=(40, 60))


def load(spec, *, train: bool):
    return load_dataset(spec, "data", train=train, download=False)


def test_images_that_differ_in_size_are_cut_to_the_largest_size_below_them(pets):
    spec = dataset_spec(f"folder:{pets}")
    assert (spec.name, spec.num_classes, spec.image_size, spec.any_size) == ("folder:pets", 2, 32, True)
    train, test = (load(spec, train=part) for part in (True, False))
    assert (len(train), len(test), test.classes) == (12, 4, ("cat", "dog"))
    assert test.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("size", "found"), [(32, (32, False)), (64, (64, False)), (28, (32, True)), (96, (64, True))])
def test_squares_that_networks_are_built_for_stay_as_they_are(size, found, tmp_path):
    measure.cache_clear()
    spec = dataset_spec(f"folder:{make_folder(tmp_path / 'pets', train=2, test=1, sizes=(size, size))}")
    assert (spec.image_size, spec.any_size) == found
    if not spec.any_size:
        save_image(tmp_path / "pets/test/dog/odd.png", (size, size + 1), 0)
        with pytest.raises(UserError, match=f"odd.png has {size}x{size + 1} pixels"):
            load(spec, train=False).image(2)


def test_normalisation_is_that_of_the_training_images(tmp_path):
    measure.cache_clear()
    for part, grey in (("train", 51), ("test", 255)):
        for label, name in enumerate(("cat", "dog")):
            save_image(tmp_path / "pets" / part / name / "a.png", (32, 32), grey * (1 + label) % 256)
    spec = dataset_spec(f"folder:{tmp_path / 'pets'}")
    assert spec.mean == pytest.approx((0.3,) * 3)  # of 0.2 and 0.4
    assert spec.std == pytest.approx((0.1,) * 3)


def test_a_checkpoint_keeps_what_was_measured_wherever_the_folder_goes(pets, tmp_path):
    spec = dataset_spec(f"folder:{pets}")
    model = ModelRecord(name="resnet8", num_classes=spec.num_classes, image_size=spec.image_size)
    checkpoint = Description(model=model, dataset=spec.name, data_set=spec.kept)
    save_image(pets / "train/cat/large.png", (400, 400), 255)
    measure.cache_clear()
    assert dataset_spec(f"folder:{pets}").mean != spec.mean
    found = checkpoint_data(checkpoint, "file.pth")
    assert (found.mean, found.std, found.image_size) == (spec.mean, spec.std, spec.image_size)
    pets.rename(tmp_path / "moved")
    with pytest.raises(UserError, match=r"no folder .*pets; where pets lies now, say by --dataset folder:PATH"):
        load(found, train=False)
    (tmp_path / "new").mkdir()
    (tmp_path / "moved").rename(tmp_path / "new/pets")
    there = checkpoint_data(checkpoint, "file.pth", f"folder:{tmp_path / 'new/pets'}")
    assert (len(load(there, train=False)), there.mean) == (4, spec.mean)
    for other in ("digits", f"folder:{tmp_path / 'moved'}"):
        with pytest.raises(UserError, match=r"contradicts file.pth, which has folder:pets"):
            checkpoint_data(checkpoint, "file.pth", other)


def test_a_class_that_the_network_does_not_know_is_refused(pets):
    spec = dataset_spec(f"folder:{pets}")
    save_image(pets / "test/owl/a.png", (40, 40), 0)
    with pytest.raises(UserError, match=r"class 'owl' .* is none of the 2 that the network knows"):
        load(spec, train=False)


def test_val_stands_in_for_test_and_a_client_needs_no_training_images(pets):
    (pets / "test").rename(pets / "val")
    assert len(load(dataset_spec(f"folder:{pets}"), train=False)) == 4
    (pets / "train").rename(pets / "training")
    measure.cache_clear()
    assert dataset_spec(f"folder:{pets}").kept.classes == ("cat", "dog")


def test_images_are_cut_before_they_are_corrupted(pets):
    spec = dataset_spec(f"folder:{pets}")
    frost = load_frost(None, 32)
    source = GeneratedSet(spec, load(spec, train=False), [3], 0, frost).source("fog", 3)
    assert {image.size for image in source.batch(range(4))} == {(32, 32)}


@pytest.mark.parametrize(
    ("missing", "message"),
    [("", "there is no such folder"), ("train/cat", "has 1 class folders; .* two at least"), ("a", "cannot read")],
)
def test_bad_folders_are_one_line(missing, message, pets):
    if missing == "a":
        Image.new("RGB", (9, 9)).save(pets / "train/cat/0.png")
        (pets / "train/cat/1.png").write_bytes(b"no image")
    else:
        (pets / missing).rename(pets.parent / "elsewhere")
    with pytest.raises(UserError, match=message) as caught:
        dataset_spec(f"folder:{pets}")
    assert "\n" not in str(caught.value)


def test_statistics_are_of_images_as_they_are_cut(tmp_path):
    """A bright frame that the cut removes is not part of the mean."""
    measure.cache_clear()
    for name in ("cat", "dog"):
        pixels = np.full((48, 80, 3), 255, np.uint8)
        pixels[:, 12:68] = 51
        path = tmp_path / "pets/train" / name / "a.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path)
    assert dataset_spec(f"folder:{tmp_path / 'pets'}").mean == pytest.approx((0.2,) * 3, abs=1e-3)
