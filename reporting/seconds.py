"""Budgets in seconds of private inference, as plain values: a plan as text, the frontier as text and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from helper.text import table
from reporting.figure_style import COLUMN, INK, SERIES, literal, styled

# What the losses of layers are, and so what a budget is predicted to lose.
LOSS = "held-out loss"
SHARE = "sensitivity"
COLUMNS = ("ReLUs", "open layers", "MB", "rounds", "seconds", "of ReLUs")
PREDICTED = {LOSS: "predicted loss", SHARE: "given up"}


def plan_text(found: Mapping) -> str:
    """Layers open and closed, what that costs, and what other budgets would."""
    rows = [["layer", "ReLUs", "of", "MB", "rounds", "seconds"]]
    for layer in found["layers"]:
        if layer["kept"]:
            cost = [f"{layer['bytes'] / 1e6:,.3f}", f"{layer['rounds']:g}", f"{layer['seconds']:.3f}"]
        else:
            cost = ["closed", "", ""]
        rows.append([layer["layer"], f"{layer['kept']:,}", f"{layer['total']:,}", *cost])
    open_layers = sum(1 for layer in found["layers"] if layer["kept"])
    once = found["set_up_seconds"]
    parts = [
        f"A budget in seconds, ESTIMATED over {found['link']['words']}: {open_layers} of {len(found['layers'])} ReLU "
        "layers stay open.",
        table(rows),
        budget_table(found),
        f"Everything but ReLUs takes {found['linear_seconds']:.3f} s, which no budget saves"
        + (f"; set-up, {once:.1f} s once, is in none of these figures." if once else "."),
        predicted_in_words(found["unit"]),
    ]
    return "\n".join(parts)


def budget_table(found: Mapping) -> str:
    rows = [["", *COLUMNS, PREDICTED[found["unit"]]]]
    for name, network in found["networks"].items():
        rows.append([name, *budget_cells(network, found["all"], found["unit"])])
    return table(rows)


def budget_cells(network: Mapping, everything: float, unit: str) -> list[str]:
    """What stands in COLUMNS, and what is predicted."""
    cost = [f"{network['bytes'] / 1e6:,.2f}", f"{network['rounds']:g}"]
    cost += [f"{network[name]:.3f}" for name in ("seconds", "relu_seconds")]
    return [f"{network['relus']:,}", str(network["open"]), *cost, loss_in_words(network["loss"], everything, unit)]


def loss_in_words(loss: float, everything: float, unit: str) -> str:
    return f"+{max(loss, 0):.4f}" if unit == LOSS else f"{100 * max(loss, 0) / everything:.2f} %"


def predicted_in_words(unit: str) -> str:
    """What the column of predictions means."""
    if unit == LOSS:
        return (
            "predicted loss: the rise of the held-out loss, were those of closed layers to add up; they do not quite."
        )
    return (
        "given up: the share of the profile's sensitivity; it ranks budgets, and is no loss: compute_sensitivity.py "
        "measures those."
    )


def frontier_table(found: Mapping) -> str:
    """One link: the best budgets from the cheapest to all ReLUs."""
    rows = [[*COLUMNS, PREDICTED[found["unit"]]]]
    return table([*rows, *(budget_cells(point, found["all"], found["unit"]) for point in found["frontier"])])


@styled
def frontier_figure(every: Sequence[Mapping]) -> Figure:
    """Predicted loss against seconds: a panel a link, the best budgets, and plain ones of as many ReLUs."""
    figure = Figure(figsize=(max(COLUMN, 2.35 * len(every)), 2.6), layout="constrained")
    panels = figure.subplots(1, len(every), sharey=True, squeeze=False)[0]
    scale = 1.0 if every[0]["unit"] == LOSS else 100 / every[0]["all"]
    for axes, found in zip(panels, every, strict=True):
        for name, key, colour, dashes in (
            ("planned in seconds", "frontier", SERIES[0], "-"),
            ("as many ReLUs, shared out without prices", "plain", SERIES[1], "--"),
        ):
            points = [(point["seconds"], scale * max(point["loss"], 0)) for point in found[key]]
            axes.plot(*zip(*points, strict=True), dashes, color=colour, label=name)
        axes.axvline(found["linear_seconds"], color=INK, linewidth=0.8, linestyle=":", label="without any ReLU")
        axes.set_title(literal(found["link"]["words"]), fontsize=7)
        axes.set_xlabel("Seconds an image (estimated)")
        axes.grid()
    unit = "Predicted rise of held-out loss" if every[0]["unit"] == LOSS else "Sensitivity given up (%)"
    panels[0].set_ylabel(unit)
    panels[0].set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=min(3, len(every)), columnspacing=1.2)
    return figure
