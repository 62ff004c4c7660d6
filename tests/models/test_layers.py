"""The layers that networks are made of: MaskedReLU, BranchNorm2d and its route, size_masks."""

from __future__ import annotations

import copy
from contextlib import suppress
from itertools import pairwise

import pytest
import torch
from support.networks import randomise_norms
from torch import Tensor, nn
from torch.testing import assert_close

from models import build_model
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


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


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
    randomise_norms(norm)
    return norm


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
        super().__init__(ModelSpec(7, 8, 1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
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
