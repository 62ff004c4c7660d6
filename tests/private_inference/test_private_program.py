"""Networks as programs of plain steps, the fusion of linear layers, and the gathers of masked ReLUs, all by value."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.networks import EVERY_ARCHITECTURE, randomise_norms
from torch import nn

from helper.errors import UserError
from masks.counting import relu_counts
from models import build_model
from models.layers import BranchNorm2d, MaskedReLU, ModelSpec, Network, relu_sites, size_masks, use_branch
from private_inference.program.fuse import fuse
from private_inference.program.gather import flat_indices, masked_relu, plan
from private_inference.program.plaintext import run
from private_inference.program.steps import Program, Step, comparisons, macs, shapes
from private_inference.program.trace import build_program

TOLERANCE = 1e-5
MEAN, STD = (0.49, 0.48, 0.45), (0.2, 0.25, 0.3)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def student(name: str, image_size: int = 32, branches: int = 2) -> Network:
    """Random norms; sites that keep all, none, some positions and some channels, in turn."""
    model = build_model(name, num_classes=5, image_size=image_size, branches=branches, mean=MEAN, std=STD)
    randomise_norms(model)
    for number, site in enumerate(relu_sites(model).values()):
        channels = site.map_shape[0]
        if number % 4 == 1:
            site.set_mask(torch.zeros(site.map_shape, dtype=torch.bool))
        elif number % 4 == 2:
            site.set_mask(torch.rand(site.map_shape) < 0.3)
        elif number % 4 == 3:
            site.set_mask(torch.rand(channels, 1, 1) < 0.5)
    return model.eval()


def images_for(model: Network, count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, model.spec.image_size, model.spec.image_size)


@torch.no_grad()
def error(model: Network, branch: int, program: Program) -> float:
    """Of the program's logits, as a share of the largest of PyTorch's."""
    images = images_for(model)
    with use_branch(model, branch):
        logits = model(images).numpy()
    return np.abs(run(program, images) - logits).max() / np.abs(logits).max()


# --- Programs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY_ARCHITECTURE)
def test_every_architecture(name: str) -> None:
    model = student(name)
    program = build_program(model, branch=1)
    assert error(model, 1, program) < TOLERANCE
    assert error(model, 1, fuse(program)) < TOLERANCE
    assert error(model, 0, program) > 1e-3
    assert all(step.kind != "affine" for step in program.steps)
    kept = {count.layer: count.kept for count in relu_counts(model) if count.kept}
    assert {layer: count for layer, kind, count in comparisons(program) if kind == "relu"} == kept


@pytest.mark.parametrize(("name", "image_size"), [("MobileNetV2", 64), ("ResNet18", 224), ("wrn_16_2", 224)])
def test_larger_images_and_three_branches(name: str, image_size: int) -> None:
    model = student(name, image_size, branches=3)
    for branch in (0, 2):
        assert error(model, branch, build_program(model, branch)) < TOLERANCE
    pooled = [count for _, kind, count in comparisons(build_program(model)) if kind == "max_pool"]
    assert pooled == {"ResNet18": [64 * 56 * 56 * 8], "wrn_16_2": [16 * 56 * 56 * 8]}.get(name, [])


def test_without_folding_every_norm_is_a_step() -> None:
    model = student("resnet8")
    program = build_program(model, fold=False)
    assert sum(step.kind == "affine" for step in program.steps) == 10
    assert error(model, 0, program) < TOLERANCE


def test_teacher_has_plain_relus_and_empty_sites_are_no_steps(network) -> None:
    model = network().eval()
    steps = [step for step in build_program(model).steps if step.kind == "relu"]
    assert len(steps) == 7
    assert not any(step.arrays for step in steps)
    for site in relu_sites(model).values():
        site.set_mask(torch.zeros(site.map_shape, dtype=torch.bool))
    program = build_program(model)
    assert comparisons(program) == []
    assert error(model, 0, program) < TOLERANCE


@pytest.mark.parametrize("scale", [-0.5, 0.0, 1e-6])
def test_a_scale_that_cannot_move_stays_and_says_so(scale: float) -> None:
    model = student("wrn_16_2")
    with torch.no_grad():
        model.layer2[1].bn1.branches[0].weight[3] = scale
    program = build_program(model)
    assert [step.layer for step in program.steps if step.kind == "affine"] == ["layer2.1.bn1"]
    assert [decision.layers for decision in program.decisions if not decision.done] == [("layer2.1.bn1",)]
    assert error(model, 0, program) < TOLERANCE


def test_the_model_is_left_as_it_was(network) -> None:
    model = network(branches=2).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    build_program(model, 1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training
    with pytest.raises(UserError, match=r"branch 2: this network has 2"):
        build_program(model, 2)


class Novel(Network):
    """An architecture that this package has not seen: a grouped convolution, two norms in a row, other pools."""

    def __init__(self, act: nn.Module | None = None):
        super().__init__(ModelSpec(5, 32, 1, MEAN, STD))
        self.conv = nn.Conv2d(3, 6, 3, padding=1, groups=3)
        self.norm, self.second_norm = BranchNorm2d(6, 1), BranchNorm2d(6, 1)
        self.relu = MaskedReLU()
        self.pool = nn.Sequential(nn.AvgPool2d(2), nn.MaxPool2d(2), nn.Dropout(0.5))
        self.grouped = nn.Conv2d(6, 8, 3, stride=2, groups=2)
        self.act = act or nn.Identity()
        self.fc = nn.Linear(8 * 3 * 3, 5)

    def stem(self, x):
        x = self.conv(x)
        return self.pool(self.relu(self.second_norm(self.norm(x + x))))

    def stages(self):
        return [self.grouped]

    def head(self, x):
        return self.fc(self.act(torch.add(x, x)).flatten(1))


def test_an_architecture_of_another_kind() -> None:
    model = Novel()
    randomise_norms(model)
    size_masks(model)
    relu_sites(model)["relu"].set_mask(torch.rand(6, 32, 32) < 0.5)
    program = build_program(model.eval())
    assert error(model, 0, program) < TOLERANCE
    assert len([decision for decision in program.decisions if decision.done]) == 3
    assert [count for _, kind, count in comparisons(program) if kind == "max_pool"] == [6 * 8 * 8 * 3]


class Branching(Novel):
    def head(self, x):
        return super().head(x if x.sum() > 0 else -x)


class Scaled(Novel):
    def head(self, x):
        return super().head(x * 2)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: Novel(nn.Sigmoid()), r"'act' \(Sigmoid\) has no step"),
        (lambda: Novel(nn.Conv2d(8, 8, 3, padding=2, dilation=2)), "'act' is dilated"),
        (Branching, "forward depends on its input"),
        (Scaled, "'mul' has no step"),
        (lambda: Novel(nn.Flatten(2)), "'act' flattens something else"),
    ],
)
def test_what_no_step_stands_for_is_named(model, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_program(model())


# --- Fusion ---------------------------------------------------------------------------------------------------------


def conv(x: str, out: str, inputs: int, outputs: int, kernel: int, stride=1, padding=0, groups=1) -> Step:
    weight = torch.randn(outputs, inputs // groups, kernel, kernel).numpy()
    settings = {"stride": (stride, stride), "padding": (padding, padding), "groups": groups}
    return Step("conv", (x,), out, out, {"weight": weight, "bias": torch.randn(outputs).numpy()}, settings)


def fused(*steps: Step, side: int = 9) -> tuple[Program, Program]:
    """The program of these steps before and after, which must do the same."""
    program = Program((3, side, side), steps)
    result = fuse(program)
    images = torch.rand(2, 3, side, side)
    before, after = run(program, images), run(result, images)
    np.testing.assert_allclose(after, before, atol=TOLERANCE * np.abs(before).max())
    assert shapes(result)[result.output] == shapes(program)[program.output]
    return program, result


@pytest.mark.parametrize(
    ("first", "second", "kernel", "macs_after"),
    [
        # kernel, stride, padding (, groups) of the two; 3 -> 30 -> 7 channels of 9x9
        ((3, 1, 1), (1, 1, 0), 3, 7 * 9 * 9 * 27),
        ((3, 2, 1), (3, 1, 0), 7, 7 * 3 * 3 * 3 * 49),
        ((2, 1, 0), (2, 2, 0), 3, 7 * 4 * 4 * 27),
        ((1, 1, 0), (3, 2, 1), 3, 7 * 5 * 5 * 27),  # what the bias adds is less at the border
        ((1, 2, 0), (3, 1, 1), 5, 7 * 5 * 5 * 75),
        ((1, 1, 0, 3), (3, 1, 1), 3, 7 * 9 * 9 * 27),
    ],
)
def test_two_convolutions_become_one(first, second, kernel, macs_after) -> None:
    _, result = fused(conv("images", "a", 3, 30, *first), conv("a", "b", 30, 7, *second))
    assert [step.kind for step in result.steps] == ["conv", *["shift"] * second[2]]
    assert result.steps[0].arrays["weight"].shape == (7, 3, kernel, kernel)
    (decision,) = result.decisions
    assert decision.done
    assert decision.macs_after == macs(result) == macs_after < decision.macs_before


def test_what_is_not_exact_or_not_cheaper_is_left() -> None:
    padded = [conv("images", "a", 3, 30, 3, padding=1), conv("a", "b", 30, 7, 3, padding=1)]
    bottleneck = [conv("images", "a", 3, 1, 1), conv("a", "b", 1, 30, 1)]
    shared = [*padded[:1], conv("a", "b", 30, 30, 1), Step("add", ("a", "b"), "c", "c")]
    for steps, reason in ((padded, "pads"), (bottleneck, "no fewer"), (shared, "elsewhere")):
        before, after = fused(*steps)
        assert after.steps == before.steps
        assert [(decision.done, reason in decision.why) for decision in after.decisions] == [(False, True)]


@pytest.mark.parametrize("groups", [1, 3])
def test_parallel_convolutions_become_one(groups: int) -> None:
    wide = conv("images", "a", 3, 6, 3, 2, 1, groups)
    point = conv("images", "b", 3, 6, 1, 2, groups=groups)
    _, result = fused(wide, point, Step("add", ("a", "b"), "c", "c"))
    assert [step.kind for step in result.steps] == ["conv"]
    assert result.steps[0].settings["groups"] == groups
    assert macs(result) == 6 * 5 * 5 * 27 // groups
    total = Step("add", ("a", "d"), "c", "c")
    _, result = fused(wide, conv("images", "d", 3, 6, 2, 2), total, side=8)
    assert len(result.steps) == (1 if groups == 1 else 3)  # 3 * 9 dense values for 9 + 12 when grouped
    assert len(fused(wide, conv("images", "d", 3, 6, 1, 1), total, side=1)[1].steps) == 3  # of two strides


def test_a_linear_tail_becomes_one_layer() -> None:
    def pool(side: int) -> Step:
        return Step("average_pool", ("a",), "b", "b", {}, {"kernel": (side, side), "stride": (side, side)})

    weight = torch.randn(4, 30).numpy()
    fc = Step("linear", ("c",), "d", "d", {"weight": weight, "bias": np.ones(4, np.float32)})
    _, result = fused(conv("images", "a", 3, 30, 1), pool(9), Step("flatten", ("b",), "c", "c"), fc)
    assert [step.kind for step in result.steps] == ["average_pool", "flatten", "linear"]
    assert macs(result) == 4 * 3
    for skipping, side in ((conv("images", "a", 3, 30, 1, stride=2), 5), (conv("images", "a", 3, 30, 3, padding=1), 9)):
        _, result = fused(skipping, pool(side), Step("flatten", ("b",), "c", "c"), fc)
        assert len(result.steps) == 4


# --- Gathers --------------------------------------------------------------------------------------------------------


def some_masks() -> dict[str, torch.Tensor]:
    channels = torch.tensor([True, False, True, True, False])[:, None, None].expand(5, 6, 7)
    mixed = channels.clone()
    mixed[2] = torch.rand(6, 7) < 0.3
    none, rows = torch.zeros(2, 5, 6, 7, dtype=torch.bool)
    rows[:, 2] = True
    return {"random": torch.rand(5, 6, 7) < 0.3, "channels": channels, "mixed": mixed, "none": none, "rows": rows}


@pytest.mark.parametrize("kind", [*some_masks(), "all"])
@pytest.mark.parametrize("slice_cost", [0, 5, 10**6])
def test_gathers_make_the_masked_relu(kind: str, slice_cost: int) -> None:
    mask = (some_masks() | {"all": torch.ones(5, 6, 7, dtype=torch.bool)})[kind]
    x = torch.randn(3, 5, 6, 7)
    expected = torch.where(mask, x.relu(), x).flatten(1).numpy()
    layout, flat, asked = plan(mask.numpy(), slice_cost), x.flatten(1).numpy(), []

    def relu(values: np.ndarray) -> np.ndarray:
        asked.append(values.shape[1])
        return values.clip(0)

    np.testing.assert_array_equal(masked_relu(flat, layout, relu), expected)
    assert asked == [int(mask.sum())] * bool(mask.any())
    indices, inverse = flat_indices(mask.numpy())
    np.testing.assert_array_equal(np.concatenate([np.maximum(flat[:, indices], 0), flat], 1)[:, inverse], expected)
    assert layout.gathered <= math.prod(mask.shape) + len(indices)


def test_only_channels_that_change_are_gathered() -> None:
    masks = some_masks()
    assert plan(masks["channels"].numpy(), 5).gathered == 0
    assert plan(masks["rows"].numpy(), 5).gathered == 3 * 7 + 7  # up to the first long run
    mixed = plan(masks["mixed"].numpy(), 5)
    assert 42 <= mixed.gathered < 42 + 42
    assert plan(masks["random"].numpy(), 10**6).gathered == 5 * 42 + int(masks["random"].sum())
