"""The views of an image, and who takes which images in which batch."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch

from dataset import ArraySource, DatasetSpec, FileSource, dataset_spec
from dataset.loaders import EvalViews, ShardedBatches, ShardedEval, TrainViews, eval_loader, train_loader
from helper.errors import UserError

SPEC = dataset_spec("cifar10")


@pytest.fixture(scope="module")
def source() -> ArraySource:
    images = np.random.default_rng(1).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    return ArraySource(images, np.arange(40) % 10)


def same(one: dict, other: dict) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(torch.as_tensor(one[key]), torch.as_tensor(other[key])) for key in one)


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
    monkeypatch.setattr("dataset.loaders.augmix", lambda image, rng: np.asarray(image, dtype=np.float32) / 255)
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


@pytest.mark.slow
@pytest.mark.parametrize(("end", "status"), [("raise SystemExit(3)", 3), ("os._exit(4)", 4)])
def test_workers_end_with_a_main_process_that_holds_a_loader(end, status):
    script = f"""
import os, numpy as np, dataset, dataset.loaders as views
source = dataset.ArraySource(np.zeros((8, 32, 32, 3), np.uint8), range(8))
batches = iter(views.eval_loader(source, dataset.dataset_spec("cifar10"), batch_size=1, workers=1))
next(batches)
{end}
"""
    # A worker left over would keep the pipe open, and this waiting.
    done = subprocess.run([sys.executable, "-c", script], timeout=60, capture_output=True)
    assert (done.returncode, done.stderr) == (status, b"")


FEW_FILES = """
import sys, resource
from helper.script import run_script
import numpy as np, dataset, dataset.loaders as views
source = dataset.ArraySource(np.zeros((64, 32, 32, 3), np.uint8), range(64))
def main(args):
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)
    list(views.eval_loader(source, dataset.dataset_spec("cifar10"), batch_size=1, workers=4))
run_script(main, dict)
"""


@pytest.mark.slow
@pytest.mark.parametrize("limit", [8, 24, 40])
def test_too_few_open_files_are_one_line_and_leave_no_worker(limit):
    # A worker left over would keep the pipe open, and this waiting.
    words = [sys.executable, "-W", "ignore", "-c", FEW_FILES, str(limit)]
    done = subprocess.run(words, timeout=60, capture_output=True, text=True)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: --num_workers 4: too few files may be open at once; raise `ulimit -n`")
    assert done.returncode == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named_in_one_line(tmp_path, workers):
    (tmp_path / "x.png").write_bytes(b"no image")
    spec = DatasetSpec("x", "X", 1, 32, (0.0,) * 3, (1.0,) * 3, load=None, corrupted_folder="X-C")
    with pytest.raises(UserError, match=f"^cannot read the image {tmp_path / 'x.png'}") as raised:
        list(eval_loader(FileSource([tmp_path / "x.png"], [0]), spec, batch_size=1, workers=workers))
    assert "\n" not in str(raised.value)
