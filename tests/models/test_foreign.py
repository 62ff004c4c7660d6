"""Other people's state dicts as teachers: small networks in their layouts, written here, give the same logits."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision
from support.networks import randomise_norms
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from helper.errors import UserError
from models import ARCHITECTURES
from models.foreign import RAW, load_teacher
from models.layers import ModelSpec, Network

CLASSES = 7
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
SPEC = ModelSpec(CLASSES, 32, 1, MEAN, STD)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


class CifarBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + self.shortcut(x))


class CifarResNet(nn.Module):
    """ResNet18 as CIFAR repositories name it."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for number, width in enumerate((64, 128, 256, 512), 1):
            blocks = [CifarBlock(inputs, width, 1 + (number > 1)), CifarBlock(width, width, 1)]
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
            inputs = width
        self.linear = nn.Linear(512, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        for number in range(1, 5):
            x = getattr(self, f"layer{number}")(x)
        return self.linear(F.avg_pool2d(x, 4).flatten(1))


class WideBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.convShortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return out + (x if self.convShortcut is None else self.convShortcut(active))


class WideStage(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.layer = nn.Sequential(WideBlock(inputs, outputs, stride), WideBlock(outputs, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class CifarWideResNet(nn.Module):
    """WRN-16-2 as TRADES and RobustBench name it, with the stage that no image passes through."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.block1, self.sub_block1 = WideStage(16, 32, 1), WideStage(16, 32, 1)
        self.block2, self.block3 = WideStage(32, 64, 2), WideStage(64, 128, 2)
        self.bn1 = nn.BatchNorm2d(128)
        self.fc = nn.Linear(128, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.block3(self.block2(self.block1(self.conv1(x))))))
        return self.fc(F.avg_pool2d(x, 8).flatten(1))


def normalised(x: Tensor) -> Tensor:
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def same_logits(ours: Network, theirs: nn.Module, size: int, *, normalise: bool) -> None:
    x = torch.rand(2, 3, size, size)
    with torch.no_grad():
        expected = theirs.eval()(normalised(x) if normalise else x)
        assert expected.std() > 1e-3
        assert_close(ours.eval()(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def saved(path: Path, content: object) -> Path:
    torch.save(content, path / "theirs.pth")
    return path / "theirs.pth"


@pytest.mark.parametrize(("kind", "name"), [(CifarResNet, "ResNet18"), (CifarWideResNet, "wrn_16_2")])
def test_logits_equal_those_of_a_layout_for_cifar(kind: type[nn.Module], name: str, tmp_path: Path) -> None:
    theirs = kind()
    randomise_norms(theirs)
    path = saved(tmp_path, {"state_dict": {f"module.{key}": value for key, value in theirs.state_dict().items()}})
    teacher, checkpoint = load_teacher(path, SPEC, name, RAW)
    assert checkpoint.model.name == name
    assert checkpoint.model.mean == (0, 0, 0)
    same_logits(teacher, theirs, 32, normalise=False)
    with pytest.raises(UserError, match="nothing in it says what images it takes; add --teacher_images raw"):
        load_teacher(path, SPEC, name)


@pytest.mark.parametrize(
    ("keys", "before"),
    [
        (("mu", "sigma"), ""),
        (("normalize.mean", "normalize.std"), "model."),
        (("0.mean", "0.std"), "1."),
        (("module.mean", "module.std"), "module.model."),
    ],
)
def test_a_leading_normalisation_becomes_the_network_s(keys: tuple[str, str], before: str, tmp_path: Path) -> None:
    theirs = CifarWideResNet()
    randomise_norms(theirs)
    state = OrderedDict((before + key, value) for key, value in theirs.state_dict().items())
    state |= {key: torch.tensor(value).view(1, 3, 1, 1) for key, value in zip(keys, (MEAN, STD), strict=True)}
    path = saved(tmp_path, {"epoch": 3, "model": state})
    others = ModelSpec(CLASSES, 32, 2, (0.1, 0.1, 0.1), (0.9, 0.9, 0.9))
    teacher, _ = load_teacher(path, others, "Custom_wrn_16_2")
    assert teacher.spec.branches == 1
    same_logits(teacher, theirs, 32, normalise=True)
    with pytest.raises(UserError, match="a normalisation of its own; leave --teacher_images out"):
        load_teacher(path, others, "Custom_wrn_16_2", RAW)


@pytest.mark.parametrize("depth", [18, 50])
def test_logits_equal_torchvisions(depth: int, tmp_path: Path) -> None:
    """Also of old files, without batch counts."""
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None, num_classes=CLASSES)
    randomise_norms(theirs)
    state = {key: value for key, value in theirs.state_dict().items() if not key.endswith("num_batches_tracked")}
    spec = ModelSpec(CLASSES, 224, 1, MEAN, STD)
    teacher, _ = load_teacher(saved(tmp_path, state), spec, f"ResNet{depth}")
    same_logits(teacher, theirs, 224, normalise=True)


@pytest.fixture(scope="module")
def torchvisions(tmp_path_factory) -> Path:
    state = torchvision.models.resnet18(weights=None, num_classes=CLASSES).state_dict()
    return saved(tmp_path_factory.mktemp("torchvision"), state)


@pytest.mark.parametrize(
    ("name", "size", "classes", "message"),
    [
        ("ResNet18", 224, 10, "they have 7 classes, the model has 10$"),
        ("ResNet18", 32, CLASSES, "they have a 7x7 stem, the model has 3x3$"),
        ("ResNet18", 32, 10, "7x7 stem.*7 classes"),
        ("ResNet34", 224, CLASSES, r"not those of ResNet34: .* lack layer1.2.conv1.weight, .*, \.\.\.; .* for none$"),
        ("resnet8", 224, CLASSES, r"it has no place for layer1.1.conv1.weight, .*, \.\.\.$"),
        ("vgg11", 224, CLASSES, "they lack stage1.conv1.weight, .*; it has no place for conv1.weight, bn1.weight"),
    ],
)
def test_weights_that_do_not_fit(name: str, size: int, classes: int, message: str, torchvisions: Path) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_teacher(torchvisions, ModelSpec(classes, size, 1, MEAN, STD), name)
    assert "\n" not in str(caught.value)


def test_a_layout_without_a_counterpart_and_an_unknown_one(tmp_path: Path) -> None:
    state = {key: value for key, value in CifarResNet().state_dict().items() if not key.startswith("bn1.")}
    with pytest.raises(UserError, match="a pre-activation CIFAR ResNet; its blocks normalise before they convolve"):
        load_teacher(saved(tmp_path, state), SPEC, "ResNet18", RAW)
    unknown = torchvision.models.squeezenet1_1(weights=None).state_dict()
    ours = "conv1.weight, bn1.branches.0.weight"
    with pytest.raises(UserError, match=f"begin with features.0.weight, .*; those of ResNet18 with {ours}"):
        load_teacher(saved(tmp_path, unknown), SPEC, "ResNet18")


def test_our_own_weights_are_of_no_foreign_layout(network, tmp_path: Path) -> None:
    """A bare state dict of ours names no model: nothing tells a resnet8 of ours from another's file."""
    assert "resnet8" in ARCHITECTURES
    with pytest.raises(UserError, match="none of a known layout"):
        load_teacher(saved(tmp_path, network().state_dict()), SPEC, "resnet8")
