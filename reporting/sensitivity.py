"""What compute_sensitivity.py measured of each ReLU layer, as plain values: a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from helper.text import table
from reporting.figure_style import COLUMN, MUTED, PAGE, SERIES, literal, styled

TITLES = {"clean": "clean loss", "adv": "adversarial loss", "loss": "their mean", "density": "weights kept"}


def sensitivity_table(rows: Sequence[Mapping]) -> str:
    """rows: a layer each, with 'layer', 'total', 'kept', 'profile', 'sensitivity' and what was measured of it."""
    measured = [name for name in TITLES if name in rows[0]]
    measured = [name for name in measured if name != "loss" or "adv" in measured]
    lines = [["layer", "ReLUs", *(TITLES[name] for name in measured), "sensitivity", "profile", "keeps"]]
    for row in rows:
        values = [f"{100 * row[name]:.1f} %" if name == "density" else f"{row[name]:+.4f}" for name in measured]
        shares = [f"{row['sensitivity']:.4f}", f"{row['profile']:.3f}", f"{row['kept']:,}"]
        lines.append([row["layer"], f"{row['total']:,}", *values, *shares])
    return table(lines)


@styled
def sensitivity_figure(rows: Sequence[Mapping], title: str) -> Figure:
    """A bar a layer, and the profile of the architecture as points, each as a share of its largest."""
    figure = Figure(figsize=(min(PAGE, max(COLUMN, 0.9 + 0.14 * len(rows))), 2.6), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(rows))
    largest = max(row["sensitivity"] for row in rows)
    axes.bar(places, [row["sensitivity"] / largest for row in rows], color=SERIES[0], label="measured")
    most = max(row["profile"] for row in rows)
    axes.plot(places, [row["profile"] / most for row in rows], "o", color=SERIES[1], markersize=3, label="profile")
    axes.axhline(0, color=MUTED, linewidth=0.6)
    axes.set_xticks(places, [literal(row["layer"]) for row in rows], rotation=90, fontsize=6)
    axes.set_ylabel("Sensitivity, share of the largest")
    axes.set_title(literal(title), fontsize=7)
    axes.grid(axis="y")
    figure.legend(loc="outside lower left", ncols=2)
    return figure
