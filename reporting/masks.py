"""The masks of several networks held against each other, from arrays bool (C, H, W) by layer, in forward order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from matplotlib.figure import Figure

from helper.text import table
from reporting.figure_style import COLUMN, MUTED, PAGE, line_style, literal, styled
from reporting.image_figures import MAPS, add_share_bar, draw_shares, shorten, spread, title_of

Masks = Mapping[str, np.ndarray]


def describe_masks(masks: Masks) -> list[dict]:
    """What every layer keeps. `linear_channels`: those of its `channels` that keep no ReLU at all."""
    return [
        {
            "layer": name,
            "shape": list(mask.shape),
            "total": mask.size,
            "kept": int(mask.sum()),
            "channels": len(mask),
            "linear_channels": int((~mask.any((1, 2))).sum()),
        }
        for name, mask in masks.items()
    ]


def overlap(one: Masks, other: Masks) -> dict | None:
    """How alike two sets of masks are; None where they are of unlike networks.

    {'iou', 'by_chance', 'layers': {layer: iou}}: positions that both keep, as a share of those that either keeps
    (intersection over union), None where neither keeps any. `by_chance`: what random masks of as many ReLUs in each
    layer would have.
    """
    if {name: mask.shape for name, mask in one.items()} != {name: mask.shape for name, mask in other.items()}:
        return None
    both = {name: int((mask & other[name]).sum()) for name, mask in one.items()}
    either = {name: int((mask | other[name]).sum()) for name, mask in one.items()}
    chance = sum(mask.sum() * other[name].sum() / mask.size for name, mask in one.items())
    kept = sum(int(mask.sum() + other[name].sum()) for name, mask in one.items())
    return {
        "iou": _share(sum(both.values()), sum(either.values())),
        "by_chance": _share(chance, kept - chance),
        "layers": {name: _share(both[name], either[name]) for name in one},
    }


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def overlaps(every: Sequence[Masks]) -> list[dict]:
    """Of every two that are of one network: their `overlap`, and `of`, their numbers from 1 on."""
    found = []
    for (number, one), (other_number, other) in combinations(enumerate(every, 1), 2):
        if (shared := overlap(one, other)) is not None:
            found.append({"of": [number, other_number], **shared})
    return found


def overlap_table(found: Sequence[dict]) -> str:
    """A column a pair, a row a layer; then all layers together, and what chance would give."""
    rows = [["overlap (IoU)", *(_pair(shared) for shared in found)]]
    for layer in dict.fromkeys(layer for shared in found for layer in shared["layers"]):
        rows.append([layer, *(_iou(shared["layers"].get(layer)) for shared in found)])
    for key, title in (("iou", "all layers"), ("by_chance", "by chance")):
        rows.append([title, *(_iou(shared[key]) for shared in found)])
    return table(rows)


def _pair(shared: Mapping) -> str:
    return "{} and {}".format(*shared["of"])


def _iou(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@styled
def overlap_figure(found: Sequence[dict]) -> Figure:
    """Overlap by layer, a line a pair of networks, which go by their numbers."""
    layers = list(dict.fromkeys(layer for shared in found for layer in shared["layers"]))
    figure = Figure(figsize=(COLUMN, 1.1 + 0.14 * len(layers) + 0.14 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    for number, shared in enumerate(found):
        values = [np.nan if (value := shared["layers"].get(layer)) is None else value for layer in layers]
        label = f"{_pair(shared)}: {_iou(shared['iou'])} in all, {_iou(shared['by_chance'])} by chance"
        axes.plot(values, range(len(layers)), marker="os^Dv"[number % 5], **line_style(number), label=label)
    axes.set_yticks(range(len(layers)), [literal(layer) for layer in layers], fontsize=6.5)
    axes.set(xlim=(-0.02, 1.02), ylim=(len(layers) - 0.5, -0.5), xlabel="Intersection over union")
    axes.grid()
    figure.legend(loc="outside lower left")
    return figure


@styled
def masks_side_by_side(every: Sequence[Masks], labels: Sequence[str], layers: Sequence[str] | None = None) -> Figure:
    """The share of channels with ReLU at each pixel: a row a network, a column a layer.

    `layers`: which to show; without them, four of the first network from the first to the last.
    """
    names = list(layers or spread(list(every[0]), MAPS))
    figure = Figure(figsize=(PAGE * len(names) / MAPS, 0.1 + 1.62 * len(every)), layout="constrained")
    grid = figure.subplots(len(every), len(names), squeeze=False)
    for row, (masks, label) in enumerate(zip(every, labels, strict=True)):
        grid[row, 0].set_ylabel(literal(shorten(label, 26)), fontsize=7)
        for axes, name in zip(grid[row], names, strict=True):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if name in masks:
                picture = draw_shares(axes, masks[name])
                axes.set_title(title_of(name, masks[name]), loc="left", fontsize=7)
            else:
                axes.text(0.5, 0.5, "no such layer", ha="center", va="center", color=MUTED, transform=axes.transAxes)
    add_share_bar(figure, picture, grid)
    return figure
