"""What accuracy costs: CA, NPA and AdvA of networks against their ReLUs and the seconds of private inference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from reporting.figure_style import COLUMN, MUTED, PAGE, SERIES, literal, short_count, styled
from reporting.tables import METRICS

METRIC_MARKS = dict(zip(METRICS, (("o", SERIES[0]), ("s", SERIES[2]), ("^", SERIES[1])), strict=True))
SECONDS = "Private inference of an image (s)"


@dataclass(frozen=True)
class Point:
    """A network. `accuracy`: {'CA': %, 'NPA': %, 'AdvA': %}, of these what was measured.

    `seconds`: of private inference of one image, None where nobody asked. `spread`: of these accuracies, in points up
    and down. `mark`: what stands beside it, its number where that is empty.
    """

    label: str
    relus: int
    accuracy: Mapping[str, float]
    seconds: float | None = None
    spread: Mapping[str, float] = field(default_factory=dict)
    mark: str = ""


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those (cost, accuracy) than which no other is both as cheap and as accurate; by rising cost, of equals one."""
    front: list[tuple[float, float]] = []
    for cost, accuracy in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front


@styled
def pareto_figure(points: Sequence[Point], seconds_label: str = SECONDS, *, front: bool = True) -> Figure:
    """Accuracy against ReLUs and, where any network has seconds, beside it against these.

    With `front` a line joins those that no other network beats in both. Networks are numbered, and named below.
    """
    return _panels(points, _costs(points, seconds_label), front)


@styled
def pareto_figures(points: Sequence[Point], *, front: bool = True) -> list[Figure]:
    """The same as a figure a panel, each of the networks that it has a place for: they stand side by side on a wide
    page, and one below the other on a narrow one.
    """
    figures = []
    for title, costs in _costs(points, SECONDS).items():
        places = [number for number, cost in enumerate(costs) if math.isfinite(cost)]
        figures.append(_panels([points[at] for at in places], {title: [costs[at] for at in places]}, front))
    return figures


def _costs(points: Sequence[Point], seconds_label: str) -> dict[str, list[float]]:
    """{title of a panel: what each network costs, NaN where nobody asked}"""
    costs = {"ReLUs kept": [float(point.relus) for point in points]}
    if any(point.seconds is not None for point in points):
        costs[seconds_label] = [math.nan if point.seconds is None else point.seconds for point in points]
    return costs


def _panels(points: Sequence[Point], costs: Mapping[str, Sequence[float]], front: bool) -> Figure:
    width = COLUMN if len(costs) == 1 else PAGE
    figure = Figure(figsize=(width, 2.5 + 0.14 * len(points)), layout="constrained")
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    placed = [_draw(axes, title, points, costs[title], front) for axes, title in zip(panels, costs, strict=True)]
    panels[0].set_ylabel("Accuracy (%)")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper right", ncols=3, handletextpad=0.1)
    if len(points) > 1 or points[0].mark:
        numbered = [Line2D([], [], linestyle="none") for _ in points]
        marks = [point.mark or str(number) for number, point in enumerate(points, 1)]
        named = [f"{mark}  {literal(point.label)}" for mark, point in zip(marks, points, strict=True)]
        figure.legend(numbered, named, loc="outside lower left", handlelength=0, handletextpad=0)
        figure.draw_without_rendering()  # only now do points have places on paper
        for axes, found in zip(panels, placed, strict=True):
            place_marks(axes, [(marks[number], x, y) for number, x, y in found])
    return figure


def _draw(
    axes: Axes, title: str, points: Sequence[Point], costs: Sequence[float], front: bool
) -> list[tuple[int, float, float]]:
    """A panel; the (number, x, y) of what is in it, `costs` being the x of the points, NaN for none."""
    placed = []
    for metric, (marker, colour) in METRIC_MARKS.items():
        found = [
            (number, cost, point.accuracy[metric])
            for number, (point, cost) in enumerate(zip(points, costs, strict=True))
            if point.accuracy.get(metric) is not None and math.isfinite(cost)
        ]
        if not found:
            continue
        placed += found
        axes.plot(*zip(*(at for _, *at in found), strict=True), marker, color=colour, label=metric, markersize=5)
        bars = [points[number].spread.get(metric, 0.0) for number, *_ in found]
        if any(bars):
            across, up = zip(*(at for _, *at in found), strict=True)
            axes.errorbar(across, up, bars, fmt="none", ecolor=colour, elinewidth=0.8, capsize=1.8, alpha=0.7)
        best = pareto_front([(x, y) for _, x, y in found])
        if front and len(best) > 1:
            axes.plot(*zip(*best, strict=True), color=colour, linewidth=0.8, alpha=0.6)
    _scale(axes, [cost for cost in costs if math.isfinite(cost)])
    axes.margins(x=0.12, y=0.15)
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -6), min(high, 106))
    axes.set_xlabel(f"{title}, logarithmic" if axes.get_xscale() == "log" else title)
    axes.grid()
    return placed


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    """Logarithmic where costs differ much."""
    least, most = min(costs), max(costs)
    if least > 0 and most > 4 * least:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if most > 20 * least else (1, 2, 3, 5, 7)))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))


def place_marks(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Write its mark next to each point (mark, x, y) where it covers neither a point nor another mark."""
    scale = axes.figure.dpi / 72
    marks = [tuple(axes.transData.transform((x, y)) / scale) for _, x, y in points]
    taken = [(x, y, 3.5, 3.5) for x, y in marks]
    for (text, *data), (x, y) in zip(points, marks, strict=True):
        half = (2.2 * len(text) + 0.5, 3.2)
        spots = [
            (distance * math.cos(angle), distance * math.sin(angle))
            for distance in (8, 11, 15, 20, 26)
            for angle in (math.radians(degrees) for degrees in (0, 180, 90, 270, 45, 135, 315, 225))
        ]

        def covers(spot: tuple[float, float], x: float = x, y: float = y, half: tuple = half) -> bool:
            return any(
                abs(x + spot[0] - left) < half[0] + width and abs(y + spot[1] - up) < half[1] + height
                for left, up, width, height in taken
            )

        spot = next((spot for spot in spots if not covers(spot)), spots[0])
        taken.append((x + spot[0], y + spot[1], *half))
        far = math.hypot(*spot) > 9
        axes.annotate(
            text,
            (data[0], data[1]),
            xytext=spot,
            textcoords="offset points",
            ha="center",
            va="center_baseline",
            fontsize=6.5,
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.4, "shrinkA": 3, "shrinkB": 3}
            if far
            else None,
        ).set_in_layout(False)
