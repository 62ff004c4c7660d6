"""Checkpoints describe themselves, are written whole or not at all, and nothing but one is read."""

from __future__ import annotations

import os
import pickle

import pytest
import torch

from formats.checkpoint import Checkpoint, OptimizerRecord
from helper.checkpoint import check_first_step, load_optimizer, read_checkpoint, save_checkpoint
from helper.errors import UserError
from masks.counting import masks_of
from masks.selection import set_random_masks
from models import build_model
from models.foreign import load_teacher
from models.layers import relu_sites, use_branch
from models.restore import describe_model, load_model


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/rlnet_code_was_run",)


@pytest.fixture
def saved(network, tmp_path):
    model = network(branches=2)
    set_random_masks(model, [50] * len(relu_sites(model)), seed=0)
    path = tmp_path / "model.pth"
    save_checkpoint(path, Checkpoint(**describe_model("Customresnet8", model), dataset="digits", epoch=3))
    return model, path


def test_a_checkpoint_is_all_that_it_takes(saved):
    model, path = saved
    torch.load(path, weights_only=True)
    loaded, checkpoint = load_model(path)
    assert checkpoint.model.name == "Customresnet8"
    assert all(torch.equal(mask, masks_of(model)[name]) for name, mask in masks_of(loaded).items())
    x = torch.rand(2, 3, 32, 32)
    for branch in (0, 1):
        with use_branch(model.eval(), branch), use_branch(loaded.eval(), branch):
            assert torch.equal(model(x), loaded(x))


@pytest.mark.parametrize("size", [0, 10, 1000, -100])
def test_a_truncated_file_is_refused(size, saved):
    path = saved[1]
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"model\.pth: .*(truncated|not a checkpoint)"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": {}}, {"format": "other"}, torch.zeros(3)])
def test_a_foreign_file_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match="no checkpoint of this project"):
        read_checkpoint(tmp_path / "x.pth")


def test_text_and_missing_files_are_refused(tmp_path):
    (tmp_path / "x.pth").write_text("hello")
    with pytest.raises(UserError, match="not a checkpoint"):
        read_checkpoint(tmp_path / "x.pth")
    with pytest.raises(UserError, match="no such checkpoint file"):
        read_checkpoint(tmp_path / "y.pth")


@pytest.mark.parametrize("plain_pickle", [False, True])
def test_code_in_a_file_is_not_run(plain_pickle, tmp_path):
    path = tmp_path / "x.pth"
    if plain_pickle:
        path.write_bytes(pickle.dumps(Evil()))
    else:
        torch.save({"format": "rlnet-checkpoint", "model": Evil()}, path)
    with pytest.raises(UserError, match=r"x\.pth"):
        read_checkpoint(path)
    assert not os.path.exists("/tmp/rlnet_code_was_run")


def test_a_newer_version_is_refused(saved):
    path = saved[1]
    torch.save({**torch.load(path, weights_only=True), "version": 99}, path)
    with pytest.raises(UserError, match="version 99"):
        read_checkpoint(path)


def test_weights_that_do_not_fit_are_refused(saved):
    path = saved[1]
    content = torch.load(path, weights_only=True)
    content["state_dict"].pop("fc.weight")
    torch.save(content, path)
    with pytest.raises(UserError, match=r"fc\.weight"):
        load_model(path)


def test_a_failed_write_loses_nothing(saved, monkeypatch):
    path = saved[1]
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(UserError, match=r"No space left on device; what was there before is intact"):
        save_checkpoint(path, read_checkpoint(path))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_torchvision_weights_are_a_teacher(tmp_path):
    from torchvision.models import resnet18

    theirs = resnet18(num_classes=10)
    torch.save(theirs.state_dict(), tmp_path / "r18.pth")
    spec = build_model("ResNet18", num_classes=10, image_size=224).spec
    teacher, checkpoint = load_teacher(tmp_path / "r18.pth", spec, "CustomResNet18")
    assert checkpoint.model.name == "ResNet18"
    x = torch.rand(1, 3, 224, 224)
    torch.testing.assert_close(teacher.eval()(x), theirs.eval()(x), rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match="bare state dict, which only --path_t takes"):
        read_checkpoint(tmp_path / "r18.pth")


def stepped(kind: type[torch.optim.Optimizer], **settings: float) -> torch.optim.Optimizer:
    """An optimizer of three parameters, the last of which never has a gradient, after a step."""
    parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]
    optimizer = kind(parameters, lr=0.1, **settings)
    for parameter in parameters[:2]:
        parameter.grad = torch.ones(2)
    optimizer.step()
    return optimizer


def test_a_momentum_that_is_missing_is_one_line():
    optimizer, state = (
        stepped(torch.optim.SGD, momentum=0.9),
        stepped(torch.optim.SGD, momentum=0.9).state_dict()["state"],
    )
    for damaged in ({0: {}, 1: state[1]}, {1: state[1]}):
        load_optimizer(optimizer, OptimizerRecord(state=damaged, param_groups=[{"lr": 0.1}]))
        check_first_step(optimizer, "x.pth")
        with pytest.raises(UserError, match=r"x\.pth: .*the optimizer has no momentum_buffer of parameter 0"):
            optimizer.step()
    whole = stepped(torch.optim.SGD, momentum=0.9)
    load_optimizer(whole, OptimizerRecord(state=state, param_groups=[{"lr": 0.1}]))
    check_first_step(whole, "x.pth")
    whole.step()
    whole.param_groups[0]["params"][2].grad = torch.ones(2)  # as where a branch is used later
    whole.step()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({0: {"step": torch.zeros(())}}, "no exp_avg of parameter 0"),
        ({0: {}}, "no step of parameter 0"),
        ({0: {"step": torch.zeros(2)}}, r"step of parameter 0 is \(2,\)"),
        ({0: {"exp_avg": torch.zeros(())}}, r"exp_avg of parameter 0 is \(\)"),
        ({7: {}}, "3 parameters, not one of number 7"),
    ],
)
def test_a_damaged_state_of_adam_is_one_line(changes, says):
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2)) for _ in range(3)])
    buffers = {"step": torch.ones(()), "exp_avg": torch.zeros(2), "exp_avg_sq": torch.zeros(2)}
    load_optimizer(optimizer, OptimizerRecord(state=dict.fromkeys(range(3), buffers), param_groups=[{"lr": 0.1}]))
    state = {**dict.fromkeys(range(3), buffers), **changes}
    with pytest.raises(ValueError, match=says):
        load_optimizer(optimizer, OptimizerRecord(state=state, param_groups=[{"lr": 0.1}]))
