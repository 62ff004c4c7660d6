"""What private inference cost, as figures: checkpoints side by side, and one of them layer by layer."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from formats.private_costs import EngineRecord, MeasuredCosts, PrivateCosts
from private_inference.costs.sentences import link_in_words
from private_inference.costs.tables import PART_TITLES, all_costs, is_local, whole
from private_inference.engine.cost import PARTS, Cost, Costs, StepCost, total
from reporting.figure_style import PAGE, SERIES, literal, styled

COLOURS = {"linear": SERIES[0], "relu": SERIES[1], "rest": SERIES[6], "preparing": SERIES[3]}
LABEL_WIDTH = 30  # characters of a line beside the bars
MOST_LABELS = 60  # that fit beside each other below a page-wide figure


@styled
def cost_figure(results: PrivateCosts) -> Figure:
    """MB, rounds and measured seconds of an image, a bar a checkpoint; of the later images, where there were any."""
    every, (costs, state) = results.measured, all_costs(results)
    labels = [wrapped(measured.label) for measured in every]
    lines = len(labels) * max(1.8, *(label.count("\n") + 1.3 for label in labels))
    figure = Figure(figsize=(PAGE, 1.35 + 0.16 * lines), layout="constrained")
    panels = {
        "MB, both directions": (lambda cost: cost.bytes / 1e6, three_digits),
        "Rounds": (lambda cost: cost.rounds, whole),
        f"Measured seconds, {state}": (lambda cost: cost.seconds, three_digits),
    }
    for axes, (title, (read, write)) in zip(figure.subplots(1, 3, sharey=True), panels.items(), strict=True):
        parts = {part: [read(cost.part(part, state)) for cost in costs] for part in PARTS}
        draw_rows(axes, parts, write)
        axes.set_title(title)
        axes.set_yticks(range(len(labels)), labels)
        axes.tick_params(axis="y", length=0)
    models = list(dict.fromkeys(f"{measured.model} on {measured.dataset}" for measured in every))
    named = " and ".join(models) if len(models) < 3 else f"{len(models)} networks"
    figure.suptitle(f"{literal(named)}: cost of one image\n{setting(results)}", x=0.01, ha="left", fontsize=8)
    add_legend(figure, costs, state)
    return figure


@styled
def layer_figure(measured: MeasuredCosts, engine: EngineRecord) -> Figure:
    """Bytes (above) and rounds (below) of an image in the order of the forward pass.

    A bar is a linear layer with all that follows up to the next one, so that a ReLU stands on what it follows.
    """
    costs = Costs.from_record(measured.costs)
    state = costs.states[-1]
    groups = groups_of(costs)
    longest = max(len(group[0].layer) for group in groups)
    figure = Figure(figsize=(PAGE, 3.4 + 0.045 * longest), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, title, read in (
        (upper, "MB, both directions", lambda cost: cost.bytes / 1e6),
        (lower, "Rounds", lambda cost: cost.rounds),
    ):
        below = [0.0] * len(groups)
        for part in PARTS:
            values = [read(total(step.at(state) for step in group if step.part == part)) for group in groups]
            axes.bar(range(len(groups)), values, 0.76, bottom=below, color=COLOURS[part])
            below = [low + value for low, value in zip(below, values, strict=True)]
        axes.set(title=title, ylim=(0, 1.06 * max(below) or 1))
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
    lower.yaxis.set_major_locator(MaxNLocator(6, integer=True))
    stride = math.ceil(len(groups) / MOST_LABELS)
    places = range(0, len(groups), stride)
    names = [literal(groups[place][0].layer) for place in places]
    lower.set_xticks(places, names, rotation=90, fontsize=7 if len(groups) <= 45 else 6)
    lower.set_xlim(-0.6, len(groups) - 0.4)
    named = f"; one in {stride} is named" if stride > 1 else ""
    lower.set_xlabel(f"Linear layers, each with all steps up to the next one{named}")
    figure.suptitle(
        f"{literal(measured.label)}: cost of one image, {state}\n{engine_in_words(engine)}",
        x=0.01,
        ha="left",
        fontsize=8,
    )
    add_legend(figure, [costs], state)
    return figure


def groups_of(costs: Costs) -> list[list[StepCost]]:
    """The steps in which something is sent; every linear one begins a group."""
    groups: list[list[StepCost]] = []
    for step in costs.steps:
        if is_local(step) or step.kind == "set_up":
            continue
        if step.part == "linear" or not groups:
            groups.append([])
        groups[-1].append(step)
    return groups


def draw_rows(axes: Axes, parts: dict[str, list[float]], write: Callable[[float], str]) -> None:
    """Stacked horizontal bars, the first on top, each with its sum as `write` has it; a part has a value a row."""
    sums = [sum(values) for values in zip(*parts.values(), strict=True)]
    left = [0.0] * len(sums)
    for part, values in parts.items():
        axes.barh(range(len(sums)), values, 0.7, left=left, color=COLOURS[part])
        left = [start + value for start, value in zip(left, values, strict=True)]
    for row, value in enumerate(sums):
        axes.annotate(
            write(value), (value, row), xytext=(3, 0), textcoords="offset points", va="center_baseline", fontsize=6.5
        )
    # Room for what is written at the end of the longest bar.
    axes.set(xlim=(0, 1.28 * max(sums) or 1), ylim=(len(sums) - 0.45, -0.55))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="x")


def add_legend(figure: Figure, costs: list[Costs], state: str) -> None:
    """Only of parts that cost something."""
    used = [part for part in PARTS if any(cost.part(part, state) != Cost() for cost in costs)]
    handles = [figure.axes[0].containers[list(PARTS).index(part)].get_children()[0] for part in used]
    figure.legend(handles, [PART_TITLES[part] for part in used], loc="outside lower left", ncols=max(1, len(used)))


def setting(results: PrivateCosts) -> str:
    return f"{engine_in_words(results.engine)}; {literal(link_in_words(results.link))}"


def engine_in_words(engine: EngineRecord) -> str:
    online = ", online cost only" if engine.dealer else ""
    return literal(f"{engine.name} {engine.protocol}{online}")


def wrapped(label: str) -> str:
    """In lines of LABEL_WIDTH; a word without spaces, such as a path, is cut."""
    return "\n".join(literal(line) for line in textwrap.wrap(label, LABEL_WIDTH)) or literal(label)


def three_digits(value: float) -> str:
    """12,345; 123; 12.0; 0.120: all before the point, and three digits at least."""
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".removesuffix(".")
