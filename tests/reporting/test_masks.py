"""Overlap is intersection over union, what a layer keeps is counted, and figures hold unlike networks too."""

from __future__ import annotations

import numpy as np
import pytest

from reporting.masks import describe_masks, masks_side_by_side, overlap, overlap_figure, overlap_table, overlaps


def masks_of(*kept: set[int], size: tuple[int, int, int] = (2, 2, 2)) -> dict[str, np.ndarray]:
    """A layer for each set of places that it keeps."""
    return {f"relu{n}": np.isin(np.arange(np.prod(size)), list(places)).reshape(size) for n, places in enumerate(kept)}


ONE, OTHER = masks_of({0, 1, 2, 3}, {0}, set()), masks_of({2, 3, 4, 5}, {0, 1}, set())


def test_what_layers_keep():
    first, _, closed = describe_masks(ONE)
    assert first == {"layer": "relu0", "shape": [2, 2, 2], "total": 8, "kept": 4, "channels": 2, "linear_channels": 1}
    assert (closed["kept"], closed["linear_channels"]) == (0, 2)


def test_overlap_is_intersection_over_union():
    found = overlap(ONE, OTHER)
    assert found["layers"] == {"relu0": 2 / 6, "relu1": 1 / 2, "relu2": None}
    assert found["iou"] == 3 / 8
    chance = 4 * 4 / 8 + 1 * 2 / 8  # kept by both, where either draws its places
    assert found["by_chance"] == pytest.approx(chance / (11 - chance))
    assert overlap(ONE, ONE)["iou"] == 1
    assert overlap(masks_of(set()), masks_of(set()))["iou"] is None


def test_random_masks_overlap_as_chance_says():
    one, other = np.random.default_rng(0).random((2, 16, 32, 32)) < np.array([0.3, 0.5]).reshape(2, 1, 1, 1)
    found = overlap({"relu": one}, {"relu": other})
    assert found["iou"] == pytest.approx(found["by_chance"], abs=0.01)


def test_only_masks_of_one_network_are_compared():
    unlike = masks_of({0}, size=(4, 2, 2))
    assert overlap(ONE, unlike) is None
    found = overlaps([ONE, unlike, OTHER, ONE])
    assert [shared["of"] for shared in found] == [[1, 3], [1, 4], [3, 4]]
    head, *_, layers, chance = overlap_table(found).splitlines()
    assert head.split()[2:] == ["1", "and", "3", "1", "and", "4", "3", "and", "4"]
    assert layers.split()[2:] == ["0.375", "1.000", "0.375"]
    assert chance.startswith("by chance")


def test_figures_hold_unlike_networks():
    unlike = masks_of({0}, size=(4, 2, 2))
    grid = masks_side_by_side([ONE, unlike, OTHER], ["a", "b", "$c$"], ["relu0", "relu1"])
    pictures = [axes.images[0] for axes in grid.axes if axes.images]
    assert len(pictures) == 5  # `unlike` has one layer
    assert {picture.get_clim() for picture in pictures} == {(0, 100)}  # one scale for all
    lines = overlap_figure(overlaps([ONE, OTHER])).axes[0].lines
    np.testing.assert_allclose(lines[0].get_xdata(), [2 / 6, 1 / 2, np.nan])
