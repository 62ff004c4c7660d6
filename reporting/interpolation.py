"""What interpolate_branches.py found, as a table and as a figure."""

from __future__ import annotations

from matplotlib.figure import Figure

from dataset.corruptions import CORRUPTIONS, SEVERITIES
from helper.text import percent, table
from reporting.figure_style import COLUMN, MUTED, styled
from reporting.pareto import METRIC_MARKS
from reporting.tables import METRICS, counted


def metric_titles(found: dict) -> dict[str, str]:
    """{metric: title} of what was measured; the mean over a part of the benchmark never stands there as plain NPA."""
    titles = {metric: metric for metric in METRICS if metric in found["curve"][0]}
    if "NPA" in titles:
        names, severities = list(counted(dict.fromkeys(found["corruptions"]))), found["severities"]
        parts = []
        if set(names) != set(CORRUPTIONS):
            parts.append(f"{len(names)} corruption{'s' if len(names) > 1 else ''}")
        if severities != list(SEVERITIES):
            parts.append(f"severit{'ies' if len(severities) > 1 else 'y'} {', '.join(map(str, severities))}")
        if parts:
            titles["NPA"] = f"NPA ({', '.join(parts)})"
    return titles


def curve_table(found: dict) -> str:
    """Accuracy in % at every t, the score where t was searched for, and the chosen t marked."""
    titles, searched = metric_titles(found), found["weight"] is not None
    rows = [["t", *(f"{title} %" for title in titles.values()), *(["score", ""] if searched else [])]]
    for point in found["curve"]:
        row = [f"{point['t']:g}", *(percent(point[metric]) for metric in titles)]
        if searched:
            row += [percent(point["score"]), "<- chosen" if point["t"] == found["t"] else ""]
        rows.append(row)
    return table(rows)


@styled
def accuracy_over_t(found: dict) -> Figure:
    """CA, NPA and AdvA in % of the one-branch network over t, with a line at the chosen t."""
    figure = Figure(figsize=(COLUMN, 2.4), layout="constrained")
    axes = figure.add_subplot()
    curve = found["curve"]
    (chosen,) = (point for point in curve if point["t"] == found["t"])
    axes.axvline(chosen["t"], color=MUTED, linewidth=0.8, linestyle="--")
    for metric, title in metric_titles(found).items():
        marker, colour = METRIC_MARKS[metric]
        values = [point[metric] for point in curve]
        axes.plot([point["t"] for point in curve], values, color=colour, marker=marker, label=title)
    there = ", ".join(f"{metric} {chosen[metric]:.1f}" for metric in METRICS if metric in chosen)
    axes.set_title(f"Chosen: t = {chosen['t']:g} ({there})", fontsize=7)
    axes.set(xlim=(-0.03, 1.03), xlabel="t: 0 is the clean branch, 1 the adversarial one", ylabel="Accuracy (%)")
    axes.margins(y=0.08)
    axes.grid(axis="y")
    figure.legend(loc="outside lower left", ncols=3, columnspacing=1.2)
    return figure
