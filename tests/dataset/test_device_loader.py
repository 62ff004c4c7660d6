"""Batches made on the device: the order of the workers' loader, and crops and flips of the same distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support.running import run, start
from support.runs import TEACHER, assert_same_run, run_folder, wait_for_step

from dataset import ArraySource, FileSource, dataset_spec, load_dataset
from dataset.batches import ShardedBatches, ShardedEval
from dataset.device_loader import DeviceEvalLoader, DeviceTrainLoader, ResidentImages, padded_crops
from dataset.loaders import eval_loader, train_loader
from dataset.options import DataSettings
from helper.errors import UserError
from helper.processes import Processes
from helper.run_folder import FREE_OPTIONS
from training.data import choose_data_on, training_loaders

CPU = torch.device("cpu")
SPEC = dataset_spec("cifar10")


@pytest.fixture(scope="module")
def source() -> ArraySource:
    images = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    return ArraySource(images, np.arange(40) % 10)


def loader(source, *, rank=0, world=1, limit=None, seed=3, augment="augmix", indices=range(1, 40)) -> DeviceTrainLoader:
    batches = ShardedBatches(len(indices), 8, seed, rank, world, limit)
    return DeviceTrainLoader(ResidentImages(source, CPU), indices, batches, flip=True, augment=augment)


def epoch_of(loader, epoch: int, first_batch: int = 0) -> list[dict]:
    loader.batch_sampler.set_epoch(epoch, first_batch)
    return list(loader)


def assert_same(ones: list[dict], others: list[dict], names: tuple[str, ...] = ("clean", "aug", "label", "index")):
    for one, other in zip(ones, others, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in names)


def test_batches_are_those_of_the_workers_loader(source):
    ours = loader(source)
    theirs = train_loader(source, range(1, 40), SPEC, seed=3, batch_size=8, augment="augmix")
    for epoch in (0, 5):
        theirs.batch_sampler.set_epoch(epoch)
        expected = list(theirs)
        batches = epoch_of(ours, epoch)
        assert_same(batches, expected, ("label", "index"))
        for one, other in zip(batches, expected, strict=True):
            assert one.keys() == other.keys()
            for name in one:
                assert (one[name].shape, one[name].dtype) == (other[name].shape, other[name].dtype)
            assert all(one[view].min() >= 0 and one[view].max() <= 1 for view in ("clean", "aug"))
    assert len(ours) == len(ours.batch_sampler) == 4
    assert set(next(iter(loader(source, augment="none")))) == {"clean", "label", "index"}


def test_two_processes_share_what_one_has(source):
    whole = epoch_of(loader(source), 2)
    parts = [epoch_of(loader(source, rank=rank, world=2), 2) for rank in (0, 1)]
    for rank, part in enumerate(parts):
        assert_same([{name: value[rank::2] for name, value in batch.items()} for batch in whole], part)


def test_an_epoch_taken_up_again_and_a_limit(source):
    ours = loader(source)
    whole = epoch_of(ours, 2)
    assert_same(epoch_of(loader(source), 2, first_batch=3), whole[3:])
    assert_same(epoch_of(ours, 2), whole)
    assert_same(epoch_of(loader(source, limit=2), 2), whole[:2])
    assert not torch.equal(epoch_of(ours, 3)[0]["clean"], whole[0]["clean"])
    assert not torch.equal(epoch_of(loader(source, seed=4), 2)[0]["clean"], whole[0]["clean"])


def test_an_image_meets_the_same_draws_in_any_batch(source):
    def by_image(batches: list[dict]) -> dict:
        rows = [
            (int(index), batch["clean"][row], batch["aug"][row])
            for batch in batches
            for row, index in enumerate(batch["index"])
        ]
        return {index: views for index, *views in rows}

    one = by_image(epoch_of(loader(source), 1))
    other = by_image(epoch_of(loader(source, indices=range(5, 30)), 1))
    shared = one.keys() & other.keys()
    assert len(shared) > 15
    for index in shared:
        assert torch.equal(one[index][0], other[index][0])
        assert torch.equal(one[index][1], other[index][1])


@pytest.mark.parametrize("size", [32, 64])
def test_padded_crops_by_hand(size):
    images = torch.randint(0, 256, (6, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pad = size // 8
    offsets = torch.tensor([[0, 0], [pad, pad], [2 * pad, 1], [3, 2 * pad], [pad, pad], [0, 0]])
    flips = torch.tensor([False, False, False, False, True, True])
    padded = torch.nn.functional.pad(images, (pad, pad, pad, pad))
    for row, crop in enumerate(padded_crops(images, offsets, flips)):
        y, x = offsets[row].tolist()
        want = padded[row, :, y : y + size, x : x + size]
        assert torch.equal(crop, want.flip(2) if flips[row] else want)
    assert torch.equal(padded_crops(images, torch.full((6, 2), pad)), images)


def test_crops_and_flips_are_uniform_and_those_of_the_views_apart():
    """An image whose every pixel tells its place: crop and flip are read off the middle of the clean view."""
    places = np.arange(1024).reshape(32, 32)
    image = np.stack([places % 32, places // 32, np.zeros((32, 32))], axis=-1).astype(np.uint8)
    several = ArraySource(np.repeat(image[None], 600, axis=0), [0] * 600)
    batches = ShardedBatches(600, 600, 0)
    ours = DeviceTrainLoader(ResidentImages(several, CPU), range(600), batches, flip=True)
    clean = torch.cat([(batch["clean"] * 255).round().long() for e in range(4) for batch in epoch_of(ours, e)])
    mirrored = clean[:, 0, 15, 15] > clean[:, 0, 15, 16]
    x = torch.where(mirrored, clean[:, 0, 15, 16], clean[:, 0, 15, 15]) - 11
    y = clean[:, 1, 15, 15] - 11
    error = 5 * (1 / 9 / 2400) ** 0.5
    for offsets in (x, y):
        assert (torch.bincount(offsets, minlength=9) / 2400 - 1 / 9).abs().max() < error
    assert abs(float(mirrored.double().mean()) - 0.5) < 2.5 / 2400**0.5
    assert torch.corrcoef(torch.stack([x, y, mirrored]).double()).sub(torch.eye(3)).abs().max() < 5 / 2400**0.5
    ours.flip = False
    (batch,) = epoch_of(ours, 0)
    assert (batch["clean"][:, 0, 15, 15] < batch["clean"][:, 0, 15, 16]).all()


def test_crop_of_aug_is_independent_of_cleans(source, monkeypatch):
    monkeypatch.setattr("dataset.device_loader.mix", lambda images, draws: images.float() / 255)
    ours = loader(source)
    equal = [
        torch.equal(*views)
        for e in range(9)
        for b in epoch_of(ours, e)
        for views in zip(b["clean"], b["aug"], strict=True)
    ]
    assert np.mean(equal) < 0.05  # 1 in 162


def test_evaluation_is_that_of_the_workers_loader(source):
    resident = ResidentImages(source, CPU)
    for options in ({}, {"limit": 2}, {"rank": 1, "world": 2}):
        expected = list(eval_loader(source, SPEC, batch_size=16, indices=range(1, 40), **options))
        ours = DeviceEvalLoader(resident, ShardedEval(39, 16, **options), range(1, 40))
        assert len(ours) == len(expected)
        assert_same(list(ours), expected, ("clean", "label", "index"))
    assert [len(batch["label"]) for batch in DeviceEvalLoader(resident, ShardedEval(40, 32))] == [32, 8]


def test_images_in_files_are_read_in_order(tmp_path):
    for shade in range(20):
        Image.new("RGB", (64, 64), (shade, 0, 255)).save(tmp_path / f"{shade:02}.png")
    resident = ResidentImages(FileSource(sorted(tmp_path.iterdir()), range(20), size=64), CPU, threads=3)
    assert resident.images.shape == (20, 3, 64, 64)
    assert resident.images[:, 0, 5, 5].tolist() == resident.labels.tolist() == list(range(20))
    (tmp_path / "07.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"cannot read the image .*07\.png"):
        ResidentImages(FileSource(sorted(tmp_path.iterdir()), range(20)), CPU, threads=3)


def test_where_auto_puts_the_images():
    imagenet = dataset_spec("imagenet")
    assert choose_data_on("auto", SPEC, torch.device("cuda")) == "device"
    assert choose_data_on("auto", SPEC, CPU) == choose_data_on("workers", SPEC, torch.device("cuda")) == "workers"
    assert choose_data_on("auto", imagenet, torch.device("cuda")) == "workers"
    assert choose_data_on("device", SPEC, CPU) == "device"
    with pytest.raises(UserError, match="--data_on device: imagenet is too large"):
        choose_data_on("device", imagenet, CPU)


@pytest.mark.parametrize("select_on", ["heldout", "test"])
def test_both_places_train_and_evaluate_on_the_same_images(select_on):
    found = {}
    for data_on in ("workers", "device"):
        images = DataSettings("", True, 64, 0, select_on, limit_train_batches=2, limit_val_batches=3, data_on=data_on)
        loaders = training_loaders(
            dataset_spec("digits"), images, Processes(0, 1, CPU), ("clean", "aug"), seed=1, attacked=70
        )
        loaders.train.batch_sampler.set_epoch(1)
        found[data_on] = [list(loaders.train), list(loaders.selection), list(loaders.test)]
        found[data_on].append(list(loaders.attacked_selection))
    (ours, *evaluations), (theirs, *expected) = found["device"], found["workers"]
    assert_same(ours, theirs, ("label", "index"))
    for one, other in zip(evaluations, expected, strict=True):
        assert_same(one, other, ("clean", "label", "index"))
    test = load_dataset("digits", "", train=False, download=False)
    assert torch.equal(evaluations[1][0]["label"], torch.from_numpy(test.labels[:64]))


@pytest.mark.slow
def test_a_killed_run_on_the_device_goes_on_bit_for_bit(tmp_path):
    command = f"{TEACHER} --data_on device --epochs 1 --limit_train_batches 3 --steps 1 --eval_steps 1"
    run(f"{command} --save_dir {tmp_path}/whole")
    whole = run_folder(tmp_path / "whole")
    process = start(f"{command} --save_dir {tmp_path}/killed --save_freq 1")
    folder = tmp_path / "killed/models" / whole.name
    wait_for_step(process, folder / "resnet8_last.pth", 0, 1)
    process.kill()
    process.communicate()
    run(f"{command} --save_dir {tmp_path}/killed --resume auto")
    assert_same_run(folder, whole)
    # The record is what refuses to go on with other draws.
    assert torch.load(folder / "resnet8_last.pth", weights_only=True)["args"]["data_on"] == "device"
    assert "data_on" not in FREE_OPTIONS
