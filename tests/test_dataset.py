"""Data sets, views and batches. Nothing is downloaded; folders are made where a data set is read from files."""

import os
import pickle
import signal
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.datasets import CIFAR10
from torchvision.datasets.utils import calculate_md5
from torchvision.transforms import functional as reference

from dataset import DATASETS, ArraySource, DatasetSpec, FileSource, dataset_spec, heldout_split, load_dataset
from dataset import augmix as operations
from dataset.augmix import OPERATIONS, augmix
from dataset.cifar import load_cifar
from dataset.crops import padded_crop, random_resized_crop, resized_centre_crop
from dataset.digits import is_test
from dataset.views import EvalViews, ShardedBatches, ShardedEval, TrainViews, eval_loader, train_loader
from helper.errors import UserError

SPEC = dataset_spec("cifar10")


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def source() -> ArraySource:
    images = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    return ArraySource(images, np.arange(40) % 10)


def same(one: dict, other: dict) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(torch.as_tensor(one[key]), torch.as_tensor(other[key])) for key in one)


# ---- registry and split


def test_registry():
    assert {name: (spec.num_classes, spec.image_size, spec.flip) for name, spec in DATASETS.items()} == {
        "cifar10": (10, 32, True),
        "cifar100": (100, 32, True),
        "tiny_imagenet": (200, 64, True),
        "imagenet": (1000, 224, True),
        "digits": (10, 32, False),
    }
    with pytest.raises(UserError, match=r"'cifar'.*cifar10, cifar100, tiny_imagenet, imagenet, digits"):
        load_dataset("cifar", "data", train=True, download=False)


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


# ---- crops and AugMix


def test_padded_crop_is_a_shifted_image_on_black():
    image = Image.fromarray(noise(64))
    padded = np.pad(noise(64), ((8, 8), (8, 8), (0, 0)))
    shifts = {(y, x): padded[y : y + 64, x : x + 64].tobytes() for y in range(17) for x in range(17)}
    rng = np.random.default_rng(0)
    crops = [padded_crop(image, 64, rng).tobytes() for _ in range(500)]
    seen = {next(shift for shift, pixels in shifts.items() if pixels == crop) for crop in crops}
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(17))


@pytest.mark.parametrize("size", [(500, 375), (9, 300), (224, 224)])
def test_imagenet_crops_give_squares(size):
    image, rng = Image.new("RGB", size), np.random.default_rng(0)
    assert {random_resized_crop(image, 224, rng).size for _ in range(20)} == {(224, 224)}
    assert resized_centre_crop(image, 224).size == (224, 224)


@pytest.mark.parametrize("size", [32, 64, 224])
def test_augmix_shape_range_and_determinism(size):
    image = Image.fromarray(noise(size))
    mixed = [augmix(image, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert mixed[0].shape == (size, size, 3)
    assert mixed[0].dtype == np.float32
    assert all(m.min() >= 0 and m.max() <= 1 for m in mixed)
    assert np.array_equal(mixed[0], mixed[1])
    assert not np.array_equal(mixed[0], mixed[2])
    assert np.array_equal(np.asarray(image), noise(size))  # no operation wrote into its input


def test_augmix_mixes_chains_and_image_by_their_weights(monkeypatch):
    """With operations that always give white, m is read off the result: (1 - m) * image + m * 1."""
    monkeypatch.setattr(operations, "OPERATIONS", (lambda pixels, level: np.full_like(pixels, 255),))
    image = Image.new("RGB", (20, 50), (51, 102, 0))
    blends = []
    for seed in range(400):
        mixed = augmix(image, np.random.default_rng(seed), width=2, depth=1)
        assert mixed.shape == (50, 20, 3)
        blends.append(mixed[0, 0, 2])
        assert np.allclose(mixed[7, 3], (1 - blends[-1]) * np.array([0.2, 0.4, 0]) + blends[-1], atol=1e-6)
    assert np.mean(blends) == pytest.approx(0.5, abs=0.05)  # Beta(1, 1) is uniform
    assert np.std(blends) == pytest.approx(12**-0.5, abs=0.03)


def test_augmix_draws_depth_level_and_direction(monkeypatch):
    levels = []
    monkeypatch.setattr(operations, "OPERATIONS", (lambda pixels, level: levels.append(level) or pixels,))
    depths = []
    for seed in range(300):
        before = len(levels)
        augmix(Image.new("RGB", (4, 4)), np.random.default_rng(seed), width=1)
        depths.append(len(levels) - before)
    assert set(depths) == {1, 2, 3}
    assert np.mean(np.array(levels) > 0) == pytest.approx(0.5, abs=0.1)
    assert 0.1 <= np.abs(levels).min() < 0.2
    assert 2.9 < np.abs(levels).max() <= 3


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("level", [-10, -0.1, 0.1, 10])
def test_operations_give_new_pixels_of_the_same_shape(operation, level):
    pixels = np.ascontiguousarray(noise(48)[:40])
    pixels.setflags(write=False)
    out = operation(pixels, level)
    assert out.shape == pixels.shape
    assert out.dtype == np.uint8


@pytest.mark.parametrize("low", [0, 60])
def test_tone_operations_equal_pillows(low):
    pixels = np.clip(noise(32), low, 190)
    pixels[..., 1] = 77  # a channel without contrast
    image = Image.fromarray(pixels)
    for ours, theirs in (
        (operations.autocontrast(pixels, 1), ImageOps.autocontrast(image)),
        (operations.equalize(pixels, 1), ImageOps.equalize(image)),
        (operations.posterize(pixels, 2.4), ImageOps.posterize(image, 4)),
        (operations.posterize(pixels, -2.5), ImageOps.posterize(image, 3)),
        (operations.solarize(pixels, 3), ImageOps.solarize(image, 256 - 76)),
        (operations.rotate(pixels, -2.9), image.rotate(-8, Image.Resampling.BILINEAR)),
    ):
        assert np.array_equal(ours, np.asarray(theirs))


def test_tone_operations_by_hand():
    ramp = np.repeat(np.array([[50, 100, 150]], dtype=np.uint8)[..., None], 3, axis=2)
    assert operations.autocontrast(ramp, 1)[0, :, 0].tolist() == [0, 127, 255]
    assert operations.solarize(ramp, -5)[0, :, 0].tolist() == [50, 100, 105]
    assert operations.posterize(ramp, 3)[0, :, 0].tolist() == [32, 96, 128]


@pytest.mark.parametrize(("size", "shift"), [(32, 3), (64, 6), (224, 22)])
def test_translation_goes_with_the_images_size(size, shift):
    pixels = noise(size)
    left = operations.translate_x(pixels, 3)
    assert np.array_equal(left[:, : size - shift], pixels[:, shift:])
    assert not left[:, size - shift :].any()
    down = operations.translate_y(pixels, -3)
    assert np.array_equal(down[shift:], pixels[: size - shift])
    assert not down[:shift].any()
    # Whole pixels: the bilinear filter would give the same.
    assert np.array_equal(left, operations.affine(pixels, (1, 0, shift, 0, 1, 0)))


def test_shears_move_lines_in_either_direction():
    pixels = noise(41)
    for level in (3, -3):
        x, y = operations.shear_x(pixels, level), operations.shear_y(pixels, level)
        assert np.array_equal(x, operations.shear_y(pixels.swapaxes(0, 1), level).swapaxes(0, 1))
        assert not np.array_equal(x, y)
    column = np.zeros((41, 41, 3), dtype=np.uint8)
    column[:, 20] = 255
    centre = np.stack([np.average(np.arange(41), weights=row) for row in operations.shear_x(column, 3)[..., 0]])
    assert np.allclose(centre, 20 - 0.09 * (np.arange(41) + 0.5), atol=0.02)


# ---- views


def test_views_depend_on_seed_epoch_and_image_alone(source):
    views = TrainViews(source, [5, 7, 9], SPEC, 3, "augmix")
    sample = views[2, 1]
    assert set(sample) == {"clean", "aug", "label", "index"}
    assert (sample["label"], sample["index"]) == (7, 7)
    for view in ("clean", "aug"):
        assert sample[view].shape == (3, 32, 32)
        assert sample[view].dtype == torch.float32
        assert 0 <= sample[view].min() <= sample[view].max() <= 1
    assert same(sample, views[2, 1])
    assert same(sample, TrainViews(source, [7], SPEC, 3, "augmix")[2, 0])  # by image, not by position
    assert torch.equal(sample["clean"], TrainViews(source, [7], SPEC, 3)[2, 0]["clean"])
    assert not torch.equal(sample["clean"], views[3, 1]["clean"])
    assert not torch.equal(sample["aug"], views[3, 1]["aug"])
    assert not torch.equal(sample["clean"], TrainViews(source, [7], SPEC, 4)[2, 0]["clean"])


def test_crop_of_aug_is_independent_of_cleans(source, monkeypatch):
    monkeypatch.setattr("dataset.views.augmix", lambda image, rng: np.asarray(image, dtype=np.float32) / 255)
    views = TrainViews(source, range(40), SPEC, 0, "augmix")
    equal = [torch.allclose(views[epoch, i]["clean"], views[epoch, i]["aug"]) for epoch in range(5) for i in range(40)]
    assert sum(equal) < 10  # one in 162 by chance


def test_plain_views_and_flips(source):
    expected = torch.from_numpy(source.images[4]).permute(2, 0, 1) / 255
    assert torch.equal(EvalViews(source, SPEC, [4])[0]["clean"], expected)
    assert torch.equal(TrainViews(source, [4], SPEC, 0, crop_flip=False)[0, 0]["clean"], expected)
    half = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    half[:, :, :16] = 255
    for spec, flips in ((SPEC, True), (dataset_spec("digits"), False)):
        views = TrainViews(ArraySource(half, [0]), [0], spec, 0)
        mirrored = [bool(views[epoch, 0]["clean"][0, 16, 27] > 0) for epoch in range(50)]
        assert 10 < sum(mirrored) < 40 if flips else not any(mirrored)
    with pytest.raises(UserError, match="'mixup'; known are none, augmix"):
        TrainViews(source, [0], SPEC, 0, "mixup")


# ---- batches and loaders


@pytest.mark.parametrize("world", [1, 2, 4])
def test_processes_share_each_batch(world):
    whole = ShardedBatches(50, 8, seed=1)
    parts = [ShardedBatches(50, 8, 1, rank, world) for rank in range(world)]
    for sampler in (whole, *parts):
        sampler.set_epoch(3)
        assert len(sampler) == 6
    for batch, *shares in zip(whole, *parts, strict=True):
        assert [pair for row in zip(*shares, strict=True) for pair in row] == batch
    positions = [position for batch in whole for _, position in batch]
    assert len(set(positions)) == 48
    assert {epoch for batch in whole for epoch, _ in batch} == {3}


def test_batches_resume_and_differ_by_epoch_and_seed():
    sampler = ShardedBatches(50, 8, 1, rank=1, world=2, limit=5)
    whole = list(sampler)
    assert len(whole) == len(sampler) == 5
    sampler.set_epoch(0, first_batch=3)
    assert list(sampler) == whole[3:]
    assert len(sampler) == 2
    sampler.set_epoch(1)
    assert [[p for _, p in batch] for batch in sampler] != [[p for _, p in batch] for batch in whole]
    assert list(ShardedBatches(50, 8, 2, 1, 2, 5)) != whole


def test_batches_that_cannot_be_made():
    with pytest.raises(UserError, match="batch of 8 images does not divide by 3 processes"):
        ShardedBatches(50, 8, 0, world=3)
    with pytest.raises(UserError, match="50 training images are fewer than one batch of 64"):
        ShardedBatches(50, 64, 0)


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize(("samples", "limit", "covered"), [(21, None, 21), (20, None, 20), (21, 2, 10), (3, 9, 3)])
def test_eval_covers_each_image_once(world, samples, limit, covered):
    shares = [ShardedEval(samples, 5, rank, world, limit) for rank in range(world)]
    assert sorted(p for share in shares for batch in share for p in batch) == list(range(covered))
    assert [len(list(share)) for share in shares] == [len(share) for share in shares]
    assert all(batch for share in shares for batch in share)


def test_workers_and_ranks_do_not_change_what_is_trained_on(source):
    def batches(workers: int, rank: int = 0, world: int = 1) -> list[dict]:
        loader = train_loader(
            source, range(40), SPEC, seed=5, batch_size=8, augment="augmix", rank=rank, world=world, workers=workers
        )
        loader.batch_sampler.set_epoch(2, first_batch=1)
        assert len(loader) == 4
        return list(loader)

    alone = batches(0)
    assert alone[0]["clean"].shape == alone[0]["aug"].shape == (8, 3, 32, 32)
    assert alone[0]["label"].dtype == alone[0]["index"].dtype == torch.int64
    assert all(map(same, alone, batches(2)))
    for whole, *shares in zip(alone, batches(0, 0, 2), batches(0, 1, 2), strict=True):
        assert all(same({key: whole[key][rank::2] for key in whole}, share) for rank, share in enumerate(shares))


def test_loaders_leave_the_global_random_state_alone(source):
    before = torch.random.get_rng_state()
    batches = list(eval_loader(source, SPEC, batch_size=16, indices=range(1, 40)))
    assert torch.cat([batch["index"] for batch in batches]).tolist() == list(range(1, 40))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_workers_outlive_a_signal_and_an_epoch_cut_short(source):
    loader = train_loader(source, range(40), SPEC, seed=0, batch_size=4, workers=1)
    for _ in loader:
        break
    worker = loader._iterator._workers[0].pid
    subprocess.run(["kill", "-TERM", str(worker)], check=True)  # not from its parent, whose word it obeys
    os.kill(worker, signal.SIGINT)
    expected = train_loader(source, range(40), SPEC, seed=0, batch_size=4)
    assert all(map(same, loader, expected))


@pytest.mark.parametrize(("end", "status"), [("raise SystemExit(3)", 3), ("os._exit(4)", 4)])
def test_workers_end_with_a_main_process_that_holds_a_loader(end, status):
    script = f"""
import os, numpy as np, dataset, dataset.views as views
source = dataset.ArraySource(np.zeros((8, 32, 32, 3), np.uint8), range(8))
batches = iter(views.eval_loader(source, dataset.dataset_spec("cifar10"), batch_size=1, workers=1))
next(batches)
{end}
"""
    # A worker left over would keep the pipe open, and this waiting.
    done = subprocess.run([sys.executable, "-c", script], timeout=60, capture_output=True)
    assert (done.returncode, done.stderr) == (status, b"")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_in_one_line(tmp_path, workers):
    (tmp_path / "x.png").write_bytes(b"no image")
    spec = DatasetSpec("x", "X", 1, 32, (0.0,) * 3, (1.0,) * 3, load=None)
    with pytest.raises(UserError, match=f"^cannot read the image {tmp_path / 'x.png'}") as raised:
        list(eval_loader(FileSource([tmp_path / "x.png"], [0]), spec, batch_size=1, workers=workers))
    assert "\n" not in str(raised.value)
