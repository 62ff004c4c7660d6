"""What a page of results says of one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from matplotlib.figure import Figure

from formats.measured import Kept
from formats.results import Results
from reporting.cells import Share, most_uncertain
from reporting.comparability import Run, attack_in_words, baseline_in_words, made_in_words
from reporting.figures import (
    accuracy_against_severity,
    branch_cell,
    branch_label,
    corruption_groups,
    corruption_label,
    relus_per_layer,
    severity_means,
)
from reporting.page import Cell, Column, PageFigure, RunName, Table, drawing, picture, table
from reporting.provenance import in_words, recorded
from reporting.training_figure import training_curves

CAPTIONS = {
    "severity": "Mean accuracy by severity of the corruption",
    "relus_per_layer": "ReLUs per layer",
    "training_curves": "Training",
    "mask_maps": "Where layers keep their ReLUs",
    "examples": "Examples and what the network says to them",
}
# Which a table here tells.
TOLD = "corruption_heatmap_branch"


@dataclass(frozen=True)
class RunSection:
    """All that is said of one run; pairs are of a name and its value, `folded` what is seen after a click."""

    name: RunName
    facts: list[tuple[str, str]]
    warnings: list[str]
    corruptions: list[Table]
    figures: list[PageFigure]
    folded: list[Table]
    provenance: list[tuple[str, str]]
    recorded: str


def run_section(run: Run) -> RunSection:
    results = run.results
    which = "held-out" if results.measured_on == "heldout" else "test"
    pairs = [("model", results.model), ("data set", f"{results.dataset}, {results.image_size} pixels")]
    pairs += [("ReLUs", share_in_words(results.relus)), ("images", f"{results.accuracy.images:,}, {which}")]
    pairs += [("weights", share_in_words(results.weights))] if results.weights else []
    pairs += [("attack", attack_in_words(results.attack))] if results.attack else []
    pairs += [("corrupted images", made_in_words(results.corrupted_images))] if results.corrupted_images else []
    pairs += [("baseline", baseline_in_words(results) or "unknown")] if results.accuracy.mCE else []
    return RunSection(
        name=run.label,
        facts=pairs,
        warnings=list(results.warnings),
        corruptions=list(corruption_tables(results)),
        figures=list(figures_of(run)),
        folded=[*layer_tables(results), *([checkpoint_table(results)] if results.checkpoints else [])],
        provenance=in_words(run),
        recorded=recorded(results),
    )


def share_in_words(counted: Kept) -> str:
    kept, total = counted.kept, counted.total
    return f"all {total:,}" if kept == total else f"{kept:,} of {total:,} ({counted.share:.1f} %)"


def corruption_tables(results: Results) -> Iterator[Table]:
    """Corruption by severity, a table a branch; what a heat map would draw, it colours."""
    severities, images = results.accuracy.at_severities, results.accuracy.images
    columns = [Column("Corruption", numeric=False)]
    columns += [*(Column(str(severity), "Severity") for severity in severities), Column("mean")]

    def shares(values: Sequence[float]) -> list[Share]:
        return [Share(value, images, bare=True) for value in [*values, mean(values)]]

    for branch, rows in (results.accuracy.corruptions or {}).items():
        body: list[list[Cell]] = [
            [corruption_label(results, name), *shares(values)]
            for members in corruption_groups(rows).values()
            for name, values in members.items()
        ]
        widest = most_uncertain([value for values in rows.values() for value in values], images)
        title = f"Corrupted images, {branch_label(results, branch)}"
        foot: list[Cell] = ["mean", *shares(severity_means(rows))]
        note = f"accuracy in %, ±{widest:.1f} at most"
        yield table(title, columns, body, foot=foot, narrow=True, heat=True, note=note)


def figures_of(run: Run) -> Iterator[PageFigure]:
    """Those that the run's numbers give, and the pictures of its figures/ that neither they nor tables give."""
    drawn = drawn_of(run)
    for name, figure in drawn.items():
        yield drawing(figure, f"run{run.number}-{name}", caption_of(name))
    masked = run.results.relus.kept < run.results.relus.total
    for path in sorted((run.folder / "figures").glob("[!.]*.png")):
        told = path.stem in drawn or path.stem.startswith(TOLD)
        if not told and (masked or path.stem not in ("mask_maps", "relus_per_layer")):
            yield picture(path, caption_of(path.stem))


def drawn_of(run: Run) -> dict[str, Figure]:
    results, figures = run.results, {}
    if results.accuracy.corruptions:
        figures["severity"] = accuracy_against_severity([results])
    if results.relus.layers and results.relus.kept < results.relus.total:
        figures["relus_per_layer"] = relus_per_layer(results.relus)
    if run.records:
        figures["training_curves"] = training_curves(run.records)
    return figures


def caption_of(name: str) -> str:
    return CAPTIONS.get(name, name.replace("_", " ").capitalize())


def layer_tables(results: Results) -> Iterator[Table]:
    """What the layers keep of their ReLUs and, where these are sparse, of their weights."""
    columns = [Column("Layer", numeric=False), Column("Shape", numeric=False)]
    columns += [Column("Total"), Column("Kept"), Column("Kept %", digits=1)]
    for title, counted in (("ReLUs", results.relus), ("Weights", results.weights)):
        if counted:
            rows: list[list[Cell]] = [
                [layer.layer, "×".join(map(str, layer.shape)), layer.total, layer.kept, 100 * layer.kept / layer.total]
                for layer in counted.layers
            ]
            yield table(f"{title} per layer", columns, rows, narrow=True)


def checkpoint_table(results: Results) -> Table:
    columns = [Column("File", numeric=False), Column("Epoch"), Column("Branch", numeric=False)]
    columns += [Column("CA %"), Column("AdvA %")]
    rows = []
    for entry in results.checkpoints or ():
        accuracy = entry.accuracy
        for branch, clean in accuracy.CA.items():
            attacked = accuracy.of("AdvA").get(branch)
            shares = [value if value is None else Share(value, accuracy.images) for value in (clean, attacked)]
            rows.append([entry.file.rpartition("/")[2], entry.epoch, branch_cell(results, branch), *shares])
    return table("Selected checkpoints", columns, rows, narrow=True)
