"""The figure of a training run, from the records of its log.jsonl."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from formats.log import Epoch
from helper.run_folder import AVERAGED, RAW
from reporting.figure_style import INK, PAGE, SERIES, styled

VIEW_NAMES = {"clean": "clean", "aug": "AugMix", "adv": "adversarial"}
# A view has its colour in every panel, lighter and thinner with averaged weights; a kind of term has its dashes.
VIEW_COLOURS = {"clean": SERIES[0], "aug": SERIES[2], "adv": SERIES[1]}
AVERAGED_COLOURS = {"clean": SERIES[5], "adv": SERIES[4]}
TERMS = {"ce": ("cross-entropy", "-"), "kl": ("KL", "--"), "at": ("attention", ":")}
ATTENTION = "at"
DASHES = ("-", "--", ":", "-.")

# What a curve reads from a record, None where the record lacks it; and how it is drawn.
Curve = tuple[Callable[[Epoch], float | None], dict]


@styled
def training_curves(records: Sequence[Epoch]) -> Figure:
    """Loss, its terms before their weights, accuracy, learning rate and, in stage 1, how far the mask moved."""
    keys = list(dict.fromkeys(key for record in records for key in record.figures))
    losses = loss_curves(keys)
    by_view = {
        name: (value_of(f"accuracy_{view}"), {"color": VIEW_COLOURS[view]})
        for view, name in VIEW_NAMES.items()
        if f"accuracy_{view}" in keys
    }
    tested: dict[str, Curve] = {}
    for kind, note, colours in ((RAW, "", VIEW_COLOURS), (AVERAGED, ", averaged", AVERAGED_COLOURS)):
        tested |= branch_curves(records, f"TA{kind}", "clean", note, colours["clean"])
        tested |= branch_curves(records, f"ATA{kind}", "under attack", note, colours["adv"])
    panels: list[tuple[str, Mapping[str, Curve]]] = [
        ("Loss, and its terms before weighting", losses),
        ("Attention terms before weighting", attention_curves(keys)),  # a thousandth of the others
        ("Training accuracy by view (%)", by_view),
        ("Accuracy for selection (%)", tested),
        ("Learning rate", {"": (value_of("learning_rate"), {"color": INK})}),
    ]
    if any(record.mask_distance is not None for record in records):
        panels.append(("Mask positions changed (%)", {"": (value_of("mask_distance"), {"color": INK})}))
    panels = [panel for panel in panels if panel[1]]
    above = len(panels) // 2
    rows = (panels[:above], panels[above:])
    entries = sum(max(-(-len(curves) // legend_columns(row)) for _, curves in row) for row in rows)
    figure = Figure(figsize=(PAGE, 3.9 + 0.15 * entries), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    for place, row in enumerate(rows):
        width = 6 // len(row)
        for column, (title, curves) in enumerate(row):
            cell = grid[place, column * width : (column + 1) * width]
            axes = add_panel(figure, cell, records, title, curves, legend_columns(row))
            if "" in curves:
                axes.set_ylim(bottom=0)
    return figure


def value_of(key: str, branch: str | None = None) -> Callable[[Epoch], float | None]:
    """What of a record is drawn: its `key`, or that of a branch."""
    if branch is not None:
        return lambda record: record.tested(key).get(branch)
    return lambda record: record.figures[key] if key in record.figures else getattr(record, key, None)


def legend_columns(row: Sequence) -> int:
    """In as many panels side by side."""
    return 2 if len(row) < 3 else 1


def loss_curves(keys: Sequence[str]) -> dict[str, Curve]:
    curves: dict[str, Curve] = {"loss": (lambda record: record.loss, {"color": INK, "linewidth": 2})}
    return curves | term_curves(keys, {kind: words for kind, words in TERMS.items() if kind != ATTENTION})


def attention_curves(keys: Sequence[str]) -> dict[str, Curve]:
    return term_curves(keys, {ATTENTION: TERMS[ATTENTION]})


def term_curves(keys: Sequence[str], kinds: Mapping[str, tuple[str, str]]) -> dict[str, Curve]:
    """A curve for every term of those kinds, in the colour of its view."""
    curves: dict[str, Curve] = {}
    for key in keys:
        kind, _, view = key.partition("_")
        if kind in kinds and view in VIEW_NAMES:
            name, dashes = kinds[kind]
            look = {"color": VIEW_COLOURS[view], "linestyle": dashes}
            curves[f"{name}, {VIEW_NAMES[view]}"] = (value_of(key), look)
    return curves


def branch_curves(records: Sequence[Epoch], key: str, words: str, note: str, colour: str) -> dict[str, Curve]:
    """TA or ATA, {branch: %} in every record, as a curve a branch."""
    branches = sorted({branch for record in records for branch in record.tested(key)}, key=int)
    return {
        f"{words}, branch {branch}{note}": (
            value_of(key, branch),
            {"color": colour, "linestyle": DASHES[int(branch) % len(DASHES)], "linewidth": 0.8 if note else 1.3},
        )
        for branch in branches
    }


def add_panel(
    figure: Figure, place, records: Sequence[Epoch], title: str, curves: Mapping[str, Curve], legend_columns: int = 2
) -> Axes:
    """One panel over the epochs; its legend lies below it, off the data."""
    axes = figure.add_subplot(place)
    for label, (read, look) in curves.items():
        points = [(record.epoch, value) for record in records if (value := read(record)) is not None]
        marker = "o" if len(points) <= 20 else None
        axes.plot(*zip(*points, strict=True), label=label, marker=marker, markersize=2.5, **look)
    axes.set(title=title, xlabel="Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    if any(curves):
        # In points, for panels differ in height: below the axis label.
        below = axes.transAxes + ScaledTranslation(0, -27 / 72, figure.dpi_scale_trans)
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(-0.03, 0),
            bbox_transform=below,
            ncols=legend_columns,
            borderaxespad=0,
            columnspacing=1.2,
        )
    return axes
