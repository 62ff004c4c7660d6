"""Every network at every size."""

from __future__ import annotations

import pytest
import torch
from support.networks import EVERY_ARCHITECTURE
from torch import nn

from helper.errors import UserError
from models import ARCHITECTURES, IMAGE_SIZES, STUDENTS, architecture_of, build_model
from models.layers import BranchNorm2d, ModelSpec, relu_sites, route_rows

CLASSES = 7
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
# In a quick run the shapes at larger sizes are those of the meta device alone.
SIZES = [pytest.param(size, marks=[] if size == 32 else pytest.mark.slow) for size in IMAGE_SIZES]
# clean, aug and adv rows as one, two and three branches take them
ROUTES = {1: ((1, 0), (1, 0), (1, 0)), 2: ((1, 0), (1, 0), (1, 1)), 3: ((1, 0), (1, 1), (1, 2))}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


# --- The networks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "image_size", "sites", "relus"),
    [
        ("ResNet18", 32, 17, 557_056),
        ("ResNet18", 64, 17, 2_228_224),
        ("ResNet18", 224, 17, 2_308_096),
        ("ResNet34", 32, 33, 966_656),
        ("wrn_22_8", 32, 19, 1_392_640),
        ("vgg16", 32, 13, 294_912),
    ],
)
def test_published_relu_counts(name: str, image_size: int, sites: int, relus: int) -> None:
    found = relu_sites(build_model(name, num_classes=10, image_size=image_size)).values()
    assert len(found) == sites
    assert sum(site.total for site in found) == sum(site.kept for site in found) == relus


def test_first_site_of_wide_resnet_is_the_stems() -> None:
    first, second, *_ = relu_sites(build_model("wrn_22_8", num_classes=10, image_size=32)).values()
    assert first.map_shape == (16, 32, 32)
    assert second.map_shape == (128, 32, 32)


def feature_shapes(name: str, image_size: int) -> list[tuple[int, int, int, int]]:
    """Shapes of the stage features for 3 images, from the papers' tables rather than from the code."""
    first = {32: 32, 64: 64, 224: 56}[image_size]
    if name.startswith("vgg"):
        channels, first = (64, 128, 256, 512, 512), image_size
    elif name.startswith("wrn"):
        factor = int(name.split("_")[2])
        channels = (16 * factor, 32 * factor, 64 * factor)
    elif name == "MobileNetV2":
        channels, first = (24, 32, 96, 320), {32: 32, 64: 32, 224: 56}[image_size]
    elif name.startswith("resnet"):
        channels = (16, 32, 64)
    else:
        expansion = 4 if name == "ResNet50" else 1
        channels = tuple(expansion * width for width in (64, 128, 256, 512))
    sides = [max(4, first >> stage) for stage in range(len(channels))]  # vgg at 32 pixels ends with 4x4 twice
    return [(3, width, side, side) for width, side in zip(channels, sides, strict=True)]


@pytest.mark.parametrize("image_size", SIZES)
@pytest.mark.parametrize("name", EVERY_ARCHITECTURE)
def test_forward_with_a_branch_per_view(name: str, image_size: int) -> None:
    model = build_model(name, num_classes=CLASSES, image_size=image_size, branches=3).train()
    with torch.no_grad(), route_rows(model, ROUTES[3]):
        logits, features = model.forward_features(torch.rand(3, 3, image_size, image_size))
    assert logits.shape == (3, CLASSES)
    assert logits.isfinite().all()
    assert [tuple(feature.shape) for feature in features] == feature_shapes(name, image_size)
    norms = [module for module in model.modules() if isinstance(module, BranchNorm2d)]
    assert all(branch.num_batches_tracked == 1 for norm in norms for branch in norm.branches)


@pytest.mark.parametrize(("image_size", "branches"), [(64, 2), (224, 1)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fewer_branches(name: str, image_size: int, branches: int) -> None:
    """On the meta device, which follows shapes alone: a third of the networks' time and memory would go here."""
    with torch.device("meta"):
        model = ARCHITECTURES[name](ModelSpec(CLASSES, image_size, branches, **PLAIN)).train()
        with route_rows(model, ROUTES[branches]):
            logits, features = model.forward_features(torch.empty(3, 3, image_size, image_size))
    assert logits.shape == (3, CLASSES)
    assert [tuple(feature.shape) for feature in features] == feature_shapes(name, image_size)
    per_branch = [sum(f".branches.{branch}." in key for key in model.state_dict()) for branch in range(3)]
    norms = sum(isinstance(module, BranchNorm2d) for module in model.modules())
    assert per_branch == [5 * norms if branch < branches else 0 for branch in range(3)]
    assert norms == sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) // branches


def test_gradients_reach_every_parameter() -> None:
    for name in ("ResNet18", "wrn_16_2", "vgg11", "MobileNetV2"):
        model = build_model(name, num_classes=CLASSES, image_size=32, branches=2).train()
        with route_rows(model, ((2, 0), (2, 1))):
            model(torch.rand(4, 3, 32, 32)).square().sum().backward()
        assert [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_names() -> None:
    assert architecture_of("wrn_28_10") == "wrn_28_10"
    expected = {
        "CustomResNet18": "ResNet18",
        "Customvgg16": "vgg16",
        "Custom_wrn_22_8": "wrn_22_8",
        "Customresnet20": "resnet20",
        "CustomMobileNetV2": "MobileNetV2",
    }
    assert {student: architecture_of(student) for student in expected} == expected
    assert len(STUDENTS) == len(ARCHITECTURES)
    teacher, student = (build_model(name, num_classes=3, image_size=32) for name in ("resnet8", "Customresnet8"))
    assert teacher.state_dict().keys() == student.state_dict().keys()


def test_unknown_name_and_size() -> None:
    with pytest.raises(UserError, match=r"'ResNet19'.*ResNet18"):
        build_model("ResNet19", num_classes=10, image_size=32)
    with pytest.raises(UserError, match=r"48.*32, 64, 224"):
        build_model("ResNet18", num_classes=10, image_size=48)
