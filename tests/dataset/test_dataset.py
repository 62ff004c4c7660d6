"""The registry, the held-out split and the data sets. Nothing is downloaded; files that a set is read from are made."""

import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import calculate_md5
from torchvision.transforms import functional as reference

from dataset import DATASETS, dataset_spec, heldout_split, load_dataset
from dataset.loaders import EvalViews, TrainViews
from dataset.sets.cifar import load_cifar
from dataset.sets.digits import is_test
from dataset.source import folders, image_files
from helper.errors import UserError

SPEC = dataset_spec("cifar10")


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


# ---- registry and split


def test_registry():
    assert {name: (spec.num_classes, spec.image_size, spec.flip) for name, spec in DATASETS.items()} == {
        "cifar10": (10, 32, True),
        "cifar100": (100, 32, True),
        "digits": (10, 32, False),
        "imagenet": (1000, 224, True),
        "tiny_imagenet": (200, 64, True),
    }
    with pytest.raises(UserError, match=r"'cifar'.*cifar10, cifar100, digits, imagenet, tiny_imagenet"):
        load_dataset("cifar", "data", train=True, download=False)


def test_what_is_known_of_data_sets_and_corruptions_takes_no_torch():
    words = "import sys, dataset, dataset.corruptions; print({'torch', 'torchvision'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", words], text=True) == "set()\n"


def test_heldout_split_is_stratified_fixed_and_complete():
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))
    train, held = heldout_split(labels)
    assert train.dtype == held.dtype == np.int64
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(1000))
    assert np.array_equal(train, np.sort(train))
    assert np.bincount(labels[held]).tolist() == [10] * 10
    assert all(map(np.array_equal, heldout_split(labels), (train, held)))
    # Spelled out, so that no later version holds out other images without notice.
    assert heldout_split(np.arange(20) % 2)[1].tolist() == [10, 11]


@pytest.mark.parametrize(("sizes", "most", "counts"), [((90, 10), 2500, (9, 1)), ((500, 500, 500), 20, (7, 7, 6))])
def test_heldout_split_meets_its_total(sizes, most, counts):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    assert tuple(np.bincount(labels[heldout_split(labels, most=most)[1]])) == counts


def test_heldout_split_of_too_few_images():
    with pytest.raises(UserError, match="4 training images are too few"):
        heldout_split(np.arange(4))


# ---- data sets


def test_digits():
    train, test = (load_dataset("digits", "nowhere", train=part, download=False) for part in (True, False))
    assert (len(train), len(test)) == (1442, 355)
    assert train.images.shape == (1442, 32, 32, 3)
    assert train.images.dtype == np.uint8
    assert train.labels.dtype == np.int64
    assert np.bincount(test.labels).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    assert train.images.max() == 255
    assert (train.images == train.images[..., :1]).all()
    assert train.image(0).mode == "RGB"
    pixels = train.images / 255
    assert np.allclose(pixels.mean((0, 1, 2)), dataset_spec("digits").mean, atol=1e-4)
    assert np.allclose(pixels.std((0, 1, 2)), dataset_spec("digits").std, atol=1e-4)
    assert is_test(np.array([0, 1, 0, 0, 0, 1, 0, 0])).tolist() == [False] * 6 + [True, False]


@pytest.fixture
def small_cifar(tmp_path) -> type[CIFAR10]:
    """A class like torchvision's, for three training and two test images, and its archive in tmp_path / 'archive'."""
    folder = tmp_path / "archive" / "small"
    folder.mkdir(parents=True)
    pixels = np.arange(3072, dtype=np.uint8)
    for name, content in {
        "data_batch_1": {"data": np.stack([pixels] * 3), "labels": [2, 0, 1]},
        "test_batch": {"data": np.stack([pixels] * 2), "labels": [1, 1]},
        "batches.meta": {"label_names": ["a", "b", "c"]},
    }.items():
        (folder / name).write_bytes(pickle.dumps(content))
    with tarfile.open(tmp_path / "archive" / "small.tar.gz", "w:gz") as archive:
        archive.add(folder, "small")

    class SmallCIFAR(CIFAR10):
        base_folder = "small"
        filename = "small.tar.gz"
        url = "http://127.0.0.1:9/small.tar.gz"  # nothing listens there
        tgz_md5 = calculate_md5(tmp_path / "archive" / "small.tar.gz")
        train_list = [["data_batch_1", calculate_md5(folder / "data_batch_1")]]  # noqa: RUF012
        test_list = [["test_batch", calculate_md5(folder / "test_batch")]]  # noqa: RUF012
        meta = {**CIFAR10.meta, "md5": calculate_md5(folder / "batches.meta")}  # noqa: RUF012

    return SmallCIFAR


def test_cifar_is_unpacked_from_its_archive_and_read(small_cifar, tmp_path, capfd):
    root = tmp_path / "archive"
    for name in ("data_batch_1", "test_batch", "batches.meta"):
        (root / "small" / name).unlink()
    train = load_cifar(small_cifar, root, train=True, download=True)
    assert capfd.readouterr() == (f"SmallCIFAR is not at {root / 'small'}; downloading it to {root}\n", "")
    assert train.labels.tolist() == [2, 0, 1]
    assert np.array_equal(train.images[0], np.arange(3072, dtype=np.uint8).reshape(3, 32, 32).transpose(1, 2, 0))
    test = load_cifar(small_cifar, root, train=False, download=False)
    assert test.labels.tolist() == [1, 1]
    assert capfd.readouterr() == ("", "")


def test_cifar_missing_damaged_or_out_of_reach(small_cifar, tmp_path):
    missing = f"SmallCIFAR is not at {tmp_path / 'small'}"
    with pytest.raises(UserError, match=f"{missing}; rerun without --no_download.*small.tar.gz from https.*{tmp_path}"):
        load_cifar(small_cifar, tmp_path, train=True, download=False)
    with pytest.raises(UserError, match=f"{missing}, and downloading SmallCIFAR failed.*unpack small.tar.gz"):
        load_cifar(small_cifar, tmp_path, train=True, download=True)
    damaged = tmp_path / "archive" / "small" / "data_batch_1"
    damaged.write_bytes(b"cut short")
    with pytest.raises(UserError, match=f"damaged: {damaged} has the wrong md5; rerun without"):
        load_cifar(small_cifar, tmp_path / "archive", train=False, download=False)
    assert damaged.read_bytes() == b"cut short"
    damaged.unlink()
    with pytest.raises(UserError, match=f"incomplete: {damaged} is missing"):
        load_cifar(small_cifar, tmp_path / "archive", train=True, download=False)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("cifar10", "cifar-10-batches-py"),
        ("cifar100", "cifar-100-python"),
        ("tiny_imagenet", "tiny-imagenet-200"),
        ("imagenet", "imagenet"),
    ],
)
def test_missing_sets_say_where_and_what_to_do(name, folder, tmp_path):
    with pytest.raises(UserError, match=rf"is not at {tmp_path / folder}; .*https?://") as raised:
        load_dataset(name, tmp_path, train=True, download=False)
    assert "\n" not in str(raised.value)


@pytest.fixture
def tiny_root(tmp_path):
    top = tmp_path / "tiny-imagenet-200"
    for wnid, shade in (("n02", 200), ("n01", 100)):
        (top / "train" / wnid / "images").mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (64, 64), (shade, 0, 0)).save(top / "train" / wnid / "images" / f"{wnid}_{number}.JPEG")
    (top / "wnids.txt").write_text("n02\nn01\n")
    (top / "val" / "images").mkdir(parents=True)
    Image.new("L", (64, 64), 90).save(top / "val" / "images" / "val_0.JPEG")
    (top / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02\t0\t0\t62\t62\n")
    return tmp_path


def test_tiny_imagenet(tiny_root):
    train, val = (load_dataset("tiny_imagenet", tiny_root, train=part, download=False) for part in (True, False))
    assert train.labels.tolist() == [0, 0, 1, 1]
    assert train.image(0).getpixel((0, 0))[0] == pytest.approx(100, abs=2)
    assert val.labels.tolist() == [1]
    assert val.image(0).mode == "RGB"  # stored in grey
    assert TrainViews(train, range(4), dataset_spec("tiny_imagenet"), 0, "augmix")[0, 0]["aug"].shape == (3, 64, 64)


def test_a_name_that_nothing_could_print_is_one_line(tmp_path):
    (tmp_path / "caf\udce9").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "\udcff.png").touch()
    for listed, folder in ((folders, tmp_path), (image_files, tmp_path / "images")):
        with pytest.raises(UserError, match=r"holds '.*\\udc.*', a name that is not UTF-8; rename it"):
            listed(folder)


def test_tiny_imagenet_damaged(tiny_root):
    top = tiny_root / "tiny-imagenet-200"
    broken, small = top / "train" / "n01" / "images" / "n01_0.JPEG", top / "train" / "n01" / "images" / "n01_1.JPEG"
    broken.write_bytes(broken.read_bytes()[:300])
    Image.new("RGB", (32, 64)).save(small)
    train = load_dataset("tiny_imagenet", tiny_root, train=True, download=False)
    with pytest.raises(UserError, match=f"cannot read the image {broken}"):
        train.image(0)
    with pytest.raises(UserError, match=f"{small} has 32x64 pixels, not 64x64"):
        train.image(1)
    (top / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn03\t0\t0\t62\t62\n")
    with pytest.raises(UserError, match="line 1: class 'n03' is not in wnids"):
        load_dataset("tiny_imagenet", tiny_root, train=False, download=False)
    (top / "val" / "val_annotations.txt").unlink()
    with pytest.raises(UserError, match=f"cannot read {top / 'val' / 'val_annotations.txt'}"):
        load_dataset("tiny_imagenet", tiny_root, train=False, download=False)
    (top / "wnids.txt").write_text("n01\nn02\nn04\n")
    with pytest.raises(UserError, match=f"no images in {top / 'train' / 'n04' / 'images'}"):
        load_dataset("tiny_imagenet", tiny_root, train=True, download=False)


@pytest.mark.parametrize("below", ["imagenet", "."])
def test_imagenet(tmp_path, below):
    top = tmp_path / below
    for path, mode, size in (("train/b/1.JPEG", "RGB", (300, 250)), ("train/a/1.JPEG", "L", (100, 40))):
        (top / path).parent.mkdir(parents=True)
        Image.new(mode, size).save(top / path)
    (top / "val" / "b").mkdir(parents=True)
    Image.fromarray(noise(260)).save(top / "val" / "b" / "x.png")
    train, val = (load_dataset("imagenet", tmp_path, train=part, download=False) for part in (True, False))
    assert train.labels.tolist() == [0, 1]
    assert val.labels.tolist() == [1]  # numbered by train/, though val/ has no folder a
    spec = dataset_spec("imagenet")
    views = TrainViews(train, [0, 1], spec, 0, "augmix")
    assert {views[0, i][view].shape for i in range(2) for view in ("clean", "aug")} == {(3, 224, 224)}
    expected = reference.center_crop(reference.resize(val.image(0), 256), [224, 224])
    assert torch.equal(EvalViews(val, spec)[0]["clean"], reference.to_tensor(expected))
    (top / "val" / "c").mkdir()
    with pytest.raises(UserError, match=f"class 'c' of {top / 'val'} is not in {top / 'train'}"):
        load_dataset("imagenet", tmp_path, train=False, download=False)
