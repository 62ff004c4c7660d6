"""Every network at every size, the layers they are made of, and the reading of torchvision's weights."""

from __future__ import annotations

import copy
from contextlib import suppress
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.testing import assert_close

from helper.errors import UserError
from models import ARCHITECTURES, IMAGE_SIZES, STUDENTS, architecture_of, build_model
from models.layers import (
    BranchNorm2d,
    MaskedReLU,
    ModelSpec,
    Network,
    relu_sites,
    route_rows,
    size_masks,
    use_branch,
)
from models.torchvision_weights import from_torchvision, is_torchvision

CLASSES = 7
PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
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


@pytest.mark.parametrize("image_size", IMAGE_SIZES)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_forward_with_a_branch_per_view(name: str, image_size: int) -> None:
    model = build_model(name, num_classes=CLASSES, image_size=image_size, branches=3).train()
    with torch.no_grad(), route_rows(model, ROUTES[3]):
        logits, features = model.forward_features(torch.rand(3, 3, image_size, image_size))
    assert logits.shape == (3, CLASSES)
    assert logits.isfinite().all()
    assert [tuple(feature.shape) for feature in features] == feature_shapes(name, image_size)
    norms = [module for module in model.modules() if isinstance(module, BranchNorm2d)]
    assert all(branch.num_batches_tracked == 1 for norm in norms for branch in norm.branches)


@pytest.mark.parametrize("branches", [1, 2])
@pytest.mark.parametrize("image_size", IMAGE_SIZES)
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


# --- MaskedReLU -----------------------------------------------------------------------------------------------------


def masked_relu(mask: Tensor, shape: tuple[int, int, int] = (4, 3, 3)) -> MaskedReLU:
    site = MaskedReLU()
    site.map_shape = shape
    site.set_mask(mask)
    return site


def random_mask(*shape: int) -> Tensor:
    return torch.rand(shape) < 0.5


@pytest.mark.parametrize("shape", [(4, 3, 3), (4, 1, 1)])
def test_masked_relu_and_its_gradient(shape: tuple[int, int, int]) -> None:
    mask = random_mask(*shape)
    assert 0 < mask.sum() < mask.numel()
    site = masked_relu(mask)
    x = torch.randn(5, 4, 3, 3)
    x[0, :, 0, 0] = 0
    ours, reference = x.clone().requires_grad_(), x.clone().requires_grad_()
    upstream = torch.randn_like(x)
    out = site(ours)
    expected = torch.where(mask, torch.relu(reference), reference)
    out.backward(upstream)
    expected.backward(upstream)
    assert_close(out, expected, rtol=0, atol=0)
    assert_close(ours.grad, reference.grad, rtol=0, atol=0)
    assert site.total == 36
    assert site.kept == int(mask.expand(4, 3, 3).sum())


def test_all_true_takes_a_path_with_the_same_result() -> None:
    site = masked_relu(torch.ones(4, 3, 3, dtype=torch.bool))
    assert site.keeps_all
    x = torch.randn(5, 4, 3, 3)
    plain = site(x)
    site.keeps_all = False
    assert_close(site(x), plain, rtol=0, atol=0)


@pytest.mark.parametrize("keep", [True, False])
def test_nan_passes_through(keep: bool) -> None:
    mask = torch.full((4, 3, 3), keep)
    x = torch.full((1, 4, 3, 3), float("nan"))
    assert masked_relu(mask)(x).isnan().all()
    mask[0] = not keep
    assert masked_relu(mask)(x).isnan().all()


def test_set_mask_copies_and_refuses() -> None:
    mask = random_mask(4, 3, 3)
    site = masked_relu(mask)
    before = mask.clone()
    mask.logical_not_()
    assert torch.equal(site.mask, before)
    for wrong in (random_mask(4, 3, 2), random_mask(1, 3, 3), mask.float()):
        with pytest.raises(ValueError, match="this site takes bool"):
            site.set_mask(wrong)


@pytest.mark.parametrize("held", [(4, 3, 3), (4, 1, 1)])
@pytest.mark.parametrize("stored", [(4, 3, 3), (4, 1, 1)])
def test_mask_state_dict_round_trip(stored: tuple[int, ...], held: tuple[int, ...]) -> None:
    source = masked_relu(random_mask(*stored))
    target = masked_relu(torch.ones(held, dtype=torch.bool))
    nn.Sequential(target).load_state_dict(nn.Sequential(source).state_dict())
    assert torch.equal(target.mask, source.mask)
    assert not target.keeps_all
    x = torch.randn(2, 4, 3, 3)
    assert torch.equal(target(x), source(x))
    assert target.mask.data_ptr() != source.mask.data_ptr()


def test_a_mask_of_another_shape_does_not_load() -> None:
    site = masked_relu(random_mask(4, 3, 3))
    with pytest.raises(RuntimeError, match="size mismatch for mask"):
        site.load_state_dict({"mask": random_mask(4, 2, 2)})


def test_mask_follows_to_and_deepcopy() -> None:
    site = masked_relu(random_mask(4, 3, 3))
    assert site.to(torch.float64).mask.dtype == torch.bool
    assert site.half().mask.dtype == torch.bool
    twin = copy.deepcopy(site)
    assert torch.equal(twin.mask, site.mask)
    assert (twin.map_shape, twin.keeps_all) == (site.map_shape, site.keeps_all)
    twin.set_mask(~twin.mask)
    assert not torch.equal(twin.mask, site.mask)
    assert copy.deepcopy(site).to("meta").mask.is_meta


# --- BranchNorm2d and its route -------------------------------------------------------------------------------------


def random_norm(branches: int, channels: int = 5) -> BranchNorm2d:
    norm = BranchNorm2d(channels, branches)
    randomise(norm)
    return norm


def randomise(model: nn.Module) -> None:
    """Statistics and affine parameters that no two norms share and that the default ones cannot pass for."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.2)


def assert_same_state(ours: nn.Module, reference: nn.Module) -> None:
    for (key, value), expected in zip(ours.state_dict().items(), reference.state_dict().values(), strict=True):
        assert_close(value, expected, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("route", [((2, 0), (3, 2)), ((2, 0), (1, 0), (2, 2)), ((1, 2), (4, 0)), ((None, 2),)])
def test_training_normalises_every_entry_by_itself(route) -> None:
    norm = random_norm(3).train()
    reference = copy.deepcopy(norm)
    x = torch.randn(5, 5, 4, 4) * torch.arange(1, 6).view(-1, 1, 1, 1)
    with route_rows(norm, route):
        out = norm(x)
    parts = x.split([5 if rows is None else rows for rows, _ in route])
    expected = [reference.branches[branch](part) for part, (_, branch) in zip(parts, route, strict=True)]
    assert_close(out, torch.cat(expected))
    assert_same_state(norm, reference)  # the running statistics too: one entry after the other, branch 1 untouched
    assert [int(branch.num_batches_tracked) for branch in norm.branches] == [
        sum(taken == branch for _, taken in route) for branch in range(3)
    ]


@pytest.mark.parametrize("route", [((2, 0), (3, 1)), ((2, 1), (3, 1)), ((None, 1),)])
def test_evaluation_uses_the_branches_running_statistics(route) -> None:
    norm = random_norm(2).eval()
    before = copy.deepcopy(norm)
    x = torch.randn(5, 5, 4, 4)
    with route_rows(norm, route):
        out = norm(x)
    for row in range(5):
        branch = norm.branches[0 if route[0][1] == 0 and row < 2 else 1]
        scale = branch.weight / (branch.running_var + branch.eps).sqrt()
        expected = (x[row] - branch.running_mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + branch.bias.view(-1, 1, 1)
        assert_close(out[row], expected)
    assert_same_state(norm, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_averaged_statistics_of_one_process_are_its_own(dtype: torch.dtype) -> None:
    """Under autocast (bfloat16) a norm gets half-precision maps while its parameters stay float32."""
    norm = random_norm(1).to(torch.float64 if dtype == torch.float64 else torch.float32).train()
    reference = copy.deepcopy(norm)
    norm.average = lambda tensor: tensor
    x = torch.randn(5, 5, 4, 4).to(dtype)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    upstream = torch.randn_like(x)
    out, expected = norm(ours), reference(theirs)
    out.backward(upstream)
    expected.backward(upstream)
    assert out.dtype == dtype
    assert_close(out, expected)
    assert_close(ours.grad, theirs.grad)
    assert_same_state(norm, reference)


def test_route_is_put_back_after_an_exception() -> None:
    model = nn.Sequential(random_norm(3), nn.Sequential(random_norm(3)))
    norms = [model[0], model[1][0]]
    norms[1].route = ((None, 2),)

    def fail(context) -> None:
        with suppress(KeyError), context:
            assert norms[0].route != ((None, 0),)
            assert norms[0].route == norms[1].route
            raise KeyError

    fail(route_rows(model, [(2, 0), (3, 1)]))
    assert [norm.route for norm in norms] == [((None, 0),), ((None, 2),)]
    fail(use_branch(model, 1))
    assert [norm.route for norm in norms] == [((None, 0),), ((None, 2),)]
    with use_branch(model, 1), use_branch(model, 2):
        assert norms[0].route == ((None, 2),)


# --- size_masks -----------------------------------------------------------------------------------------------------


class TwoSites(Network):
    """Calls its sites in the order given."""

    def __init__(self, order: str):
        super().__init__(ModelSpec(CLASSES, 8, 1, **PLAIN))
        self.a, self.b = MaskedReLU(), MaskedReLU()
        self.order = order

    def stem(self, x: Tensor) -> Tensor:
        for name in self.order:
            x = getattr(self, name)(x)
        return x

    def stages(self) -> list[nn.Module]:
        return []

    def head(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def test_size_masks() -> None:
    model = TwoSites("ab").train()
    size_masks(model)
    assert [site.map_shape for site in relu_sites(model).values()] == [(3, 8, 8)] * 2
    assert all(site.mask.shape == (3, 8, 8) and not site._forward_hooks for site in relu_sites(model).values())
    assert model.training


@pytest.mark.parametrize("order", ["ba", "aab", "aba", "a"])
def test_size_masks_rejects_another_order_than_the_declared(order: str) -> None:
    with pytest.raises(RuntimeError, match=r"declared as .* but called as"):
        size_masks(TwoSites(order))


def test_sites_are_called_from_large_maps_to_small() -> None:
    for name in ("ResNet18", "wrn_16_2", "vgg16", "MobileNetV2"):
        sites = relu_sites(build_model(name, num_classes=10, image_size=64)).values()
        assert all(earlier.map_shape[1] >= later.map_shape[1] for earlier, later in pairwise(sites))


# --- torchvision's weights ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [18, 34, 50])
def test_logits_equal_torchvisions(depth: int) -> None:
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None, num_classes=CLASSES).eval()
    randomise(theirs)
    assert is_torchvision(theirs.state_dict())
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    ours = build_model(f"ResNet{depth}", num_classes=CLASSES, image_size=224, mean=mean, std=std).eval()
    site = next(iter(relu_sites(ours).values()))
    site.set_mask(torch.zeros_like(site.mask))
    ours.load_state_dict(from_torchvision(theirs.state_dict(), ours))
    assert site.keeps_all
    x = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        expected = theirs((x - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1))
        assert expected.std() > 1e-3
        assert_close(ours(x), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_only_torchvisions_state_dicts_are_torchvisions() -> None:
    assert not is_torchvision({})
    assert not is_torchvision(build_model("ResNet18", num_classes=10, image_size=32).state_dict())
    assert not is_torchvision(torchvision.models.vgg11_bn(weights=None, num_classes=2, init_weights=False).state_dict())


def test_old_files_without_batch_counts() -> None:
    state_dict = torchvision.models.resnet18(weights=None, num_classes=CLASSES).state_dict()
    state_dict = {key: value for key, value in state_dict.items() if not key.endswith("num_batches_tracked")}
    model = build_model("ResNet18", num_classes=CLASSES, image_size=224)
    model.load_state_dict(from_torchvision(state_dict, model))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ResNet18", {"num_classes": 10}, "they have 7 classes, the model has 10$"),
        ("ResNet18", {"image_size": 32}, "they have a 7x7 stem, the model has 3x3$"),
        ("ResNet18", {"image_size": 32, "num_classes": 10}, "7x7 stem.*7 classes"),
        ("ResNet18", {"branches": 3}, "1 batch-norm branch, this model has 3"),
        ("ResNet34", {}, r"layer1.2.conv1.weight is missing; .*; and \d+ more$"),
        ("resnet8", {}, r"conv1.weight is \(64, 3, 7, 7\), the model has \(16, 3, 7, 7\)"),
        ("resnet8", {"image_size": 32}, r"; and \d+ more$"),
        ("vgg11", {}, "stage1.conv1.weight is missing"),
    ],
)
def test_weights_that_do_not_fit(name: str, arguments: dict, message: str) -> None:
    state_dict = torchvision.models.resnet18(weights=None, num_classes=CLASSES).state_dict()
    model = build_model(name, **({"num_classes": CLASSES, "image_size": 224} | arguments))
    with pytest.raises(UserError, match=message) as caught:
        from_torchvision(state_dict, model)
    assert "\n" not in str(caught.value)
