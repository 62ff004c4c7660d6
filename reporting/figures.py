"""Figures for papers of the results and the logs of runs: matplotlib Figures, for `save_figure` to write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from formats.log import Epoch
from formats.measured import Kept
from formats.results import Results
from reporting.figure_style import (
    COLUMN,
    DROPPED,
    KEPT,
    MUTED,
    line_style,
    literal,
    save_figure,
    save_figures,
    short_count,
    styled,
)
from reporting.image_figures import Example, example_images, mask_maps
from reporting.tables import corruption_title, counted
from reporting.training_figure import training_curves

__all__ = [
    "Example",
    "accuracy_against_severity",
    "corruption_heatmap",
    "example_images",
    "mask_maps",
    "relus_per_layer",
    "run_figures",
    "save_figure",
    "save_figures",
    "training_curves",
]

# In the order in which papers print them; NPA is the mean over these, and over all severities.
GROUPS = {
    "Noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "Blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "Weather": ("snow", "frost", "fog", "brightness"),
    "Digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}


ROW, LETTER = 0.205, 0.062  # inches of a heat map's row, and of a letter of its groups' names


def run_figures(results: Results, records: Sequence[Epoch]) -> dict[str, Figure]:
    """By name, those figures that a results file and the records of its log.jsonl (may be empty) have the data for."""
    figures = {}
    corruptions = results.accuracy.corruptions or {}
    for branch in corruptions:
        figures[f"corruption_heatmap_branch{branch}"] = corruption_heatmap(results, branch)
    if corruptions:
        figures["severity"] = accuracy_against_severity([results])
    if results.relus.layers and results.relus.kept < results.relus.total:
        figures["relus_per_layer"] = relus_per_layer(results.relus)
    if records:
        figures["training_curves"] = training_curves(records)
    return figures


def corruption_groups(rows: Mapping[str, Sequence[float]]) -> dict[str, dict[str, Sequence[float]]]:
    """{group: {corruption: accuracy per severity}}; what the benchmark's four groups lack comes last, as 'Extra'."""
    groups = {group: {name: rows[name] for name in names if name in rows} for group, names in GROUPS.items()}
    known = {name for names in GROUPS.values() for name in names}
    groups["Extra"] = {name: row for name, row in rows.items() if name not in known}
    return {group: members for group, members in groups.items() if members}


def severity_means(rows: Mapping[str, Sequence[float]]) -> list[float]:
    """The mean over the corruptions at every severity."""
    return [mean(column) for column in zip(*counted(rows).values(), strict=True)]


def corruption_label(results: Results, name: str) -> str:
    """The name of a corruption in a figure."""
    return corruption_title(name, results.corrupted_images)


def branch_label(results: Results, branch: int | str) -> str:
    """'branch 0 (clean)': with several, the first is the clean images' and the last the adversarial images'."""
    purpose = {0: " (clean)", results.branches - 1: " (adversarial)"}.get(int(branch), "")
    return f"branch {branch}{purpose if results.branches > 1 else ''}"


def branch_cell(results: Results, branch: int | str) -> str:
    """The same in a column of branches."""
    return branch_label(results, branch).removeprefix("branch ")


@styled
def corruption_heatmap(results: Results, branch: int | str) -> Figure:
    """Accuracy in % for every corruption and severity through `branch`, with the means of rows and columns."""
    rows, severities = (results.accuracy.corruptions or {})[str(branch)], results.accuracy.at_severities
    colours = colormaps["YlGnBu"]
    figure = Figure(figsize=(COLUMN, 0.75 + ROW * (len(rows) + 1)), layout="constrained")
    axes = figure.add_subplot()

    def draw_row(y: float, values: Sequence[float], label: str) -> None:
        for x, value in zip([*range(len(severities)), len(severities) + 0.2], [*values, mean(values)], strict=True):
            # The whole scale, not the range at hand: colours then mean the same in every run.
            colour = colours(0.9 * value / 100)
            axes.add_patch(Rectangle((x, y), 0.96, 0.94, color=colour, linewidth=0))
            ink = "#ffffff" if sum(colour[:3]) < 1.55 else "#000000"
            axes.text(x + 0.48, y + 0.49, f"{value:.1f}", ha="center", va="center", color=ink, fontsize=6.5)
        axes.text(-0.12, y + 0.49, label, ha="right", va="center", fontsize=7)

    groups = corruption_groups(rows)
    extra = groups.pop("Extra", {})
    y = 0.0
    means: dict[str, Sequence[float]] = {"mean": severity_means(rows)}
    for group, members in [*groups.items(), ("", means), ("Extra", extra)]:
        if ROW * len(members) > LETTER * len(group):  # else it would run into those above and below
            middle = y + len(members) / 2
            axes.text(-3.3, middle, group, ha="center", va="center", rotation=90, color=MUTED, fontsize=7)
        for name, values in members.items():
            draw_row(y, values, literal(corruption_label(results, name)))
            y += 1
        y += 0.25 if members else 0
    axes.set(xlim=(-3.55, len(severities) + 1.2), ylim=(y - 0.25, 0))
    ticks = [*(x + 0.48 for x in range(len(severities))), len(severities) + 0.68]
    axes.set_xticks(ticks, [*map(str, severities), "mean"])
    axes.set_xlabel("Severity", x=(3.55 + len(severities) / 2) / (len(severities) + 4.75))
    axes.xaxis.set_label_position("top")
    axes.tick_params(top=False, bottom=False, labeltop=True, labelbottom=False, pad=1)
    axes.yaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    figure.suptitle(f"Accuracy in %, {branch_label(results, branch)}", x=0.01, ha="left", fontsize=8)
    return figure


@styled
def accuracy_against_severity(results_list: Sequence[Results], labels: Sequence[str] | None = None) -> Figure:
    """Mean accuracy over the corruptions at every severity, 0 being clean images; runs without any are left out.

    One run gives a line a branch; several give one each, through the branch of the clean images.
    """
    lines = []
    for results, label in zip(results_list, labels or default_labels(results_list), strict=True):
        corruptions, columns = results.accuracy.corruptions or {}, results.accuracy.at_severities
        for branch in sorted(corruptions, key=int)[: None if len(results_list) == 1 else 1]:
            means = severity_means(corruptions[branch])
            name = branch_label(results, branch) if len(results_list) == 1 else literal(label)
            lines.append((name, [0, *columns], [results.accuracy.CA[branch], *means]))
    figure = Figure(figsize=(COLUMN, 2.2 + 0.14 * len(lines)), layout="constrained")
    axes = figure.add_subplot()
    for number, (label, severities, values) in enumerate(lines):
        axes.plot(severities, values, label=label, **line_style(number), marker="os^Dv"[number % 5])
    ticks = sorted({severity for _, severities, _ in lines for severity in severities})
    axes.set_xticks(ticks, [str(tick) if tick else "clean" for tick in ticks])
    axes.set(xlabel="Severity of the corruption", ylabel="Mean accuracy (%)")
    axes.grid(axis="y")
    figure.legend(loc="outside lower left", ncols=1)
    return figure


@styled
def relus_per_layer(relus: Kept) -> Figure:
    """ReLUs kept and dropped in every layer, one bar a layer, in the order of the forward pass."""
    layers = relus.layers
    height = 0.15 if len(layers) <= 30 else 0.125
    figure = Figure(figsize=(COLUMN, 0.85 + height * len(layers)), layout="constrained")
    axes = figure.add_subplot()
    kept = [layer.kept / 1000 for layer in layers]
    dropped = [(layer.total - layer.kept) / 1000 for layer in layers]
    rows = range(len(layers))
    axes.barh(rows, kept, 0.76, color=KEPT, label="kept")
    if masked := any(dropped):
        axes.barh(rows, dropped, 0.76, left=kept, color=DROPPED, label="dropped")
    for row, layer in zip(rows, layers, strict=True):
        share = f" ({100 * layer.kept / layer.total:.1f} %)" if masked else ""
        axes.annotate(
            f"{layer.kept:,}{share}",
            (layer.total / 1000, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center_baseline",
            fontsize=6,
        )
    # Room for what is written at the end of the longest bar.
    axes.set(xlim=(0, 1.5 * max(layer.total for layer in layers) / 1000), ylim=(len(layers) - 0.4, -0.6))
    axes.set_yticks(rows, [literal(layer.layer) for layer in layers], fontsize=6.5 if height == 0.15 else 6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("ReLUs (thousands)")
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def default_labels(results_list: Sequence[Results]) -> list[str]:
    return [f"{results.model}, {short_count(results.relus.kept)} ReLUs" for results in results_list]
