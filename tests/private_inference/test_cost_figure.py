"""The figures of private inference show the costs, legibly."""

from __future__ import annotations

from itertools import pairwise

import pytest
from support.cost_examples import (
    RELUS,
    SMALL,
    budgets,
    measured_of,
    resnet20_costs,
    results_of,
)
from support.figures import words

from private_inference.costs.figure import cost_figure, groups_of, layer_figure
from private_inference.engine.cost import PARTS


@pytest.mark.parametrize("count", [1, 12])
def test_the_bars_are_the_costs(count: int):
    kept = [RELUS // (n + 1) for n in range(count)]
    figure = cost_figure(budgets(*kept))
    expected = [resnet20_costs(n) for n in kept]
    for axes, read in zip(figure.axes, (lambda c: c.bytes / 1e6, lambda c: c.rounds, lambda c: c.seconds), strict=True):
        for bars, part in zip(axes.containers, PARTS, strict=True):
            assert [bar.get_width() for bar in bars] == pytest.approx([read(c.part(part, "warm")) for c in expected])
        ends = [max(bars[row].get_x() + bars[row].get_width() for bars in axes.containers) for row in range(count)]
        assert ends == pytest.approx([read(c.total("warm")) for c in expected])
    found = words(figure)
    assert "Measured seconds, warm" in found
    assert f"{expected[0].total('warm').bytes / 1e6:#.3g}" in found
    assert not any("35.2" in text or "81" in text for text in found)  # the estimates


def test_text_in_the_figure_of_many_checkpoints_does_not_overlap():
    every = [measured_of(resnet20_costs(n), n, label=f"$a_long$/{'folder' * 5}/run {n}") for n in range(0, 12)]
    figure = cost_figure(results_of(*every))
    figure.draw_without_rendering()
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert not any(a.overlaps(b) for n, a in enumerate(labels) for b in labels[:n])
    assert min(box.x0 for box in labels) >= 0
    assert all(r"\$a_long\$/" in label.get_text() for label in figure.axes[0].get_yticklabels())
    legend, title = figure.legends[0].get_window_extent(), figure._suptitle.get_window_extent()
    assert not legend.overlaps(title)


def test_figures_do_without_later_images_and_without_relus():
    found = words(cost_figure(budgets(0, warm=False)))
    assert "Measured seconds, cold" in found
    assert "ReLUs" not in found  # in the legend
    assert "linear layers" in found
    measured = measured_of(resnet20_costs(0, warm=False), 0)
    found = words(layer_figure(measured, results_of().engine))
    assert any("cold" in text for text in found)
    assert "ReLUs" not in found


def test_layer_bars_hold_all_that_is_sent():
    costs = resnet20_costs(28_262)
    engine = results_of().engine
    figure = layer_figure(measured_of(costs, 28_262), engine)
    for axes, read in zip(figure.axes, (lambda c: c.bytes / 1e6, lambda c: c.rounds), strict=True):
        heights = [sum(bar.get_height() for bar in bars) for bars in axes.containers]
        assert heights == pytest.approx([read(costs.part(part, "warm")) for part in PARTS])
        tops = [max(bars[n].get_y() + bars[n].get_height() for bars in axes.containers) for n in range(22)]
        assert sum(tops) == pytest.approx(read(costs.total("warm")))
    relu = next(step for step in costs.steps if step.layer == "relu")
    assert figure.axes[0].containers[1][0].get_height() == pytest.approx(relu.warm.bytes / 1e6)
    assert [group[0].layer for group in groups_of(costs)][:3] == ["conv1", "layer1.0.conv1", "layer1.0.conv2"]
    assert any("online cost only" in text for text in words(figure))
    assert not any(
        "online" in text
        for text in words(layer_figure(measured_of(SMALL, 10), engine.model_copy(update={"dealer": False})))
    )


@pytest.mark.parametrize(("blocks", "labels"), [(9, 58), (18, 56)])
def test_layers_of_deep_networks_have_room_for_their_names(blocks: int, labels: int):
    costs = resnet20_costs(1000, blocks=blocks)
    figure = layer_figure(measured_of(costs, 1000), results_of().engine)
    assert any("one in 2 is named" in text for text in words(figure)) == (blocks == 18)
    boxes = [label.get_window_extent() for label in figure.axes[1].get_xticklabels()]
    assert len(boxes) == labels
    assert all(left.x1 <= right.x0 for left, right in pairwise(boxes))
