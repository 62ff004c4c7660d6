"""Figures with pixels in them: where a network keeps its ReLUs, and what it makes of single images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch

from reporting.figure_style import DROPPED, INK, KEPT, PAGE, SERIES, literal, styled

MAPS = 4  # layers that fit side by side on a page
TILES = 4  # channel masks along a side of a montage


@dataclass(frozen=True)
class Example:
    """One column of `example_images`: B images, float (B, 3, S, S) in [0, 1], and what the network says to each."""

    title: str
    images: np.ndarray
    predictions: Sequence[str]
    correct: Sequence[bool]


@styled
def mask_maps(masks: Mapping[str, np.ndarray], layers: Sequence[str] | None = None) -> Figure:
    """Where layers keep their ReLUs: above, the share of channels that do at each pixel; below, single channels.

    `masks`: bool (C, H, W) by layer, in forward order. `layers`: which to show; without them, four from the first to
    the last.
    """
    names = list(layers or spread(list(masks), MAPS))
    width = PAGE * len(names) / MAPS
    figure = Figure(figsize=(width, 4.15 * PAGE / MAPS / 1.75), layout="constrained")
    grid = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        mask = masks[name]
        above, below = grid[:, column]
        picture = draw_shares(above, mask)
        channels = list(dict.fromkeys(spread(range(len(mask)), TILES**2)))
        colours = ListedColormap([DROPPED, KEPT])
        below.imshow(montage(mask[channels]), cmap=colours, vmin=0, vmax=1, interpolation="nearest")
        below.set_xlabel(f"{len(channels)} of {len(mask)} channels", fontsize=7)
        above.set_title(title_of(name, mask), loc="left", fontsize=7.5)
        for axes in (above, below):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    add_share_bar(figure, picture, grid[:1])
    handles = [Patch(color=KEPT, label="keeps its ReLU"), Patch(color=DROPPED, label="identity")]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=1, handleheight=1)
    return figure


def draw_shares(axes: Axes, mask: np.ndarray) -> AxesImage:
    """The share of channels with ReLU at each pixel of a mask (C, H, W). All maps are on one scale, by the root, so
    that one ReLU in a hundred is seen beside all of them.
    """
    scale = PowerNorm(0.5, vmin=0, vmax=100)
    return axes.imshow(100 * mask.mean(0), cmap="cividis", norm=scale, interpolation="nearest")


def add_share_bar(figure: Figure, picture: AxesImage, grid: np.ndarray) -> None:
    """What the colours of `draw_shares` stand for, at the right of a grid of axes (rows, columns)."""
    bar = figure.colorbar(picture, ax=list(grid.flat), fraction=0.05, pad=0.01, aspect=14 * len(grid))
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=2, labelsize=6.5)
    bar.set_ticks([0, 1, 5, 25, 50, 100])
    bar.set_label("Channels with ReLU (%)", fontsize=7)


def title_of(name: str, mask: np.ndarray) -> str:
    return f"{name}\n{mask.sum():,} of {mask.size:,} ({100 * mask.mean():.1f} %)"


def spread(items: Sequence, count: int) -> list:
    """`count` of the items, evenly spread from the first to the last; all of them where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[round(number * (len(items) - 1) / (count - 1))] for number in range(count)]


def montage(masks: np.ndarray) -> np.ma.MaskedArray:
    """Up to 16 masks (N, H, W) as one picture of 4 columns; the gaps between them are masked out."""
    count, height, width = masks.shape
    gap = max(1, width // 16)
    rows = -(-count // TILES)
    picture = np.full((rows * (height + gap) - gap, TILES * (width + gap) - gap), np.nan)
    for number, mask in enumerate(masks):
        top, left = number // TILES * (height + gap), number % TILES * (width + gap)
        picture[top : top + height, left : left + width] = mask
    return np.ma.masked_invalid(picture)


@styled
def example_images(examples: Sequence[Example], labels: Sequence[str]) -> Figure:
    """A column an Example, a row an image, its true label (B of them) at the left and the prediction below each."""
    rows, columns = len(labels), len(examples)
    cell, caption, top = 0.86, 0.19, 0.08 + 0.13 * max(example.title.count("\n") + 1 for example in examples)
    left = 0.15 + 0.062 * max(len(shorten(label, 20)) for label in labels)
    width, height = left + columns * cell + (columns - 1) * 0.08, top + rows * (cell + caption)
    figure = Figure(figsize=(width + 0.12, height + 0.05))  # a title may be wider than its images
    width, height = figure.get_size_inches()
    for column, example in enumerate(examples):
        pixels = np.clip(np.asarray(example.images, dtype=float).transpose(0, 2, 3, 1), 0, 1)
        for row in range(rows):
            x, y = left + column * (cell + 0.08), height - top - row * (cell + caption) - cell
            axes = figure.add_axes((x / width, y / height, cell / width, cell / height))
            axes.imshow(pixels[row], interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            right = example.correct[row]
            colour = SERIES[2] if right else SERIES[1]
            for spine in axes.spines.values():
                spine.set(visible=not right, color=colour, linewidth=1.6)
            said = f"{'✓' if right else '✗'} {literal(shorten(example.predictions[row], 15))}"
            weight = "normal" if right else "bold"
            axes.set_xlabel(said, color=INK if right else colour, fontsize=6.5, labelpad=2.5, fontweight=weight)
            if row == 0:
                axes.set_title(literal(example.title), loc="center", fontsize=7.5, pad=4)
            if column == 0:
                axes.set_ylabel(literal(shorten(labels[row], 20)), rotation=0, ha="right", va="center", fontsize=7.5)
    return figure


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
