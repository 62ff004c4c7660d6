"""One branch between two: by the formula, bit for bit at both ends, and statistics estimated by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from evaluation.interpolation import (
    best_point,
    check_branches,
    estimate_statistics,
    even_grid,
    interpolate,
    score,
    single_checkpoint,
)
from formats.checkpoint import FORMAT, VERSION, Checkpoint
from helper.errors import UserError
from masks.counting import masks_of
from masks.selection import set_random_masks
from models.layers import BranchNorm2d, relu_sites, use_branch
from reporting.interpolation import accuracy_over_t, curve_table, metric_titles

INTERPOLATED = ("weight", "bias", "running_mean", "running_var")


def norms_of(model: nn.Module) -> list[BranchNorm2d]:
    return [module for module in model.modules() if isinstance(module, BranchNorm2d)]


@pytest.mark.parametrize("branches", [2, 3])
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_the_ends_are_the_clean_and_the_adversarial_branch_bit_for_bit(branches, t, network, batch):
    model = network(branches).eval()
    set_random_masks(model, [200] * len(relu_sites(model)), seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    single = interpolate(model, t)
    with torch.no_grad(), use_branch(model, 0 if t == 0 else branches - 1):
        assert torch.equal(single(batch["clean"]), model(batch["clean"]))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_all_that_a_branch_has_is_interpolated_and_masks_are_carried_over(network):
    model = network(branches=3)
    set_random_masks(model, [200] * len(relu_sites(model)), seed=0)
    single = interpolate(model, 0.25)
    assert single.spec.branches == 1
    for mine, source in zip(norms_of(single), norms_of(model), strict=True):
        (only,), (first, _, last) = mine.branches, source.branches
        for name in INTERPOLATED:
            expected = 0.75 * getattr(first, name) + 0.25 * getattr(last, name)
            torch.testing.assert_close(getattr(only, name), expected)
    masks = masks_of(single)
    assert all(torch.equal(mask, masks[name]) for name, mask in masks_of(model).items())
    assert all(site.kept == 200 for site in relu_sites(single).values())


def test_estimated_statistics_are_means_over_images_whatever_the_batches(network, batch):
    single = interpolate(network(branches=2), 0.5)
    x = batch["clean"]
    maps = []
    first = next(module for module in single.modules() if isinstance(module, BranchNorm2d))
    handle = first.register_forward_pre_hook(lambda _, inputs: maps.append(inputs[0]))
    affine = [norm.branches[0].weight.detach().clone() for norm in norms_of(single)]
    estimate_statistics(single, iter((x[:4], x[4:])))
    handle.remove()
    (norm,) = first.branches
    torch.testing.assert_close(norm.running_mean, torch.cat(maps).mean((0, 2, 3)))
    variances = [part.transpose(0, 1).flatten(1).var(1) for part in maps]
    torch.testing.assert_close(norm.running_var, (4 * variances[0] + 2 * variances[1]) / 6)
    assert not any(module.training for module in single.modules())
    assert norm.momentum == nn.BatchNorm2d(1).momentum
    for module, weight in zip(norms_of(single), affine, strict=True):
        assert torch.equal(module.branches[0].weight, weight)


def test_the_weight_decides_and_of_equal_scores_the_smaller_t():
    accuracies = [(0.0, 90.0, 10.0), (0.5, 80.0, 40.0), (1.0, 60.0, 50.0), (0.75, 70.0, 50.0)]
    curve = [{"t": t, "CA": clean, "AdvA": attacked} for t, clean, attacked in accuracies]

    def chosen(weight: float) -> float:
        return best_point([point | {"score": score(point, weight)} for point in curve])["t"]

    assert [chosen(weight) for weight in (0, 0.25, 0.5, 1)] == [0.0, 0.0, 0.5, 0.75]
    assert all(low < high for low, high in pairwise(even_grid(7)))
    assert even_grid(11) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1]


def checkpoint_of(branches: int, **more) -> Checkpoint:
    model = {"name": "Customresnet8", "num_classes": 10, "image_size": 32, "branches": branches}
    return Checkpoint(format=FORMAT, version=VERSION, model=model, state_dict={}, **more)


def test_there_must_be_two_trained_branches():
    with pytest.raises(UserError, match=r"s\.pth has one batch-norm branch"):
        check_branches(checkpoint_of(1), "s.pth")
    for branches, trained, missing in ((2, [0], 1), (3, [0, 1], 2), (2, [1], 0)):
        with pytest.raises(UserError, match=rf"s\.pth never trained its branch {missing}"):
            check_branches(checkpoint_of(branches, trained_branches=trained), "s.pth")
    check_branches(checkpoint_of(3, trained_branches=[0, 2]), "s.pth")


def test_a_checkpoint_keeps_what_the_network_is_and_drops_the_run(network):
    model = network(branches=2)
    identity = {"dataset": "digits", "stage": 1, "budget": {"label": "relu1k", "layers": [1]}, "teacher": "resnet8"}
    identity |= {"tag": "rslad", "trained_branches": [0, 1], "optimizer": {}, "progress": {}}
    source = checkpoint_of(2, **identity)
    found = single_checkpoint(interpolate(model, 0.5), source, {"t": 0.5})
    assert found.model.branches == 1
    assert found.trained_branches == (0,)
    assert found.interpolation.t == 0.5
    assert all(getattr(found, key) == getattr(source, key) for key in ("dataset", "stage", "budget", "tag", "teacher"))
    assert not {"optimizer", "progress"} & found.model_fields_set


def found_of(**more) -> dict:
    curve = [{"t": t, "CA": 90 - 20 * t, "NPA": 70.0, "AdvA": 40 * t, "score": 45 + 10 * t} for t in even_grid(3)]
    return {"curve": curve, "t": 1.0, "weight": 0.5, "corruptions": ["fog", "frost"], "severities": [3]} | more


def test_table_and_figure_show_the_curve_and_the_choice():
    lines = curve_table(found_of()).splitlines()
    assert lines[0].split("  ")[0] == "t"
    assert [line.endswith("<- chosen") for line in lines[2:]] == [False, False, True]
    assert lines[3].split() == ["0.5", "80.00", "70.00", "20.00", "50.00"]
    (axes,) = accuracy_over_t(found_of()).axes
    line, *curves = axes.lines
    assert list(line.get_xdata()) == [1.0, 1.0]
    assert {curve.get_label(): list(curve.get_ydata()) for curve in curves} == {
        "CA": [90, 80, 70],
        "NPA (2 corruptions, severity 3)": [70, 70, 70],
        "AdvA": [0, 20, 40],
    }
    assert "t = 1 (CA 70.0, NPA 70.0, AdvA 40.0)" in axes.get_title(loc="left")


def test_a_part_of_the_benchmark_is_no_plain_npa():
    from dataset.corruptions import CORRUPTIONS, SEVERITIES

    whole = found_of(corruptions=[*CORRUPTIONS, "saturate"], severities=list(SEVERITIES))
    assert metric_titles(whole)["NPA"] == "NPA"
    assert metric_titles(found_of(corruptions=list(CORRUPTIONS)))["NPA"] == "NPA (severity 3)"
