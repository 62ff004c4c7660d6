"""What a page of results says: the runs side by side, and a section for each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import mean

from reporting.comparability import Run, attack_in_words, baseline_in_words, corruptions_in_words, incomparable
from reporting.figures import (
    accuracy_against_severity,
    branch_label,
    corruption_groups,
    corruption_label,
    run_figures,
    severities_of,
    severity_means,
)
from reporting.image_figures import shorten
from reporting.page import Cell, Column, PageFigure, RunName, Table, drawing, picture, table
from reporting.pareto import pareto_figure, point_of

CLEAN_METRICS = {"CA": "CA", "NPA": "NPA", "mCE": "mCE", "relative_mCE": "rel. mCE"}
CAPTIONS = {
    "severity": "Mean accuracy by severity of the corruption",
    "relus_per_layer": "ReLUs per layer",
    "training_curves": "Training",
    "mask_maps": "Where layers keep their ReLUs",
    "examples": "Examples and what the network says to them",
}
GLOSSARY = (
    ("CA", "clean accuracy in %, on unchanged images"),
    ("NPA", "natural-perturbation accuracy in %: the mean over 15 corruptions and all severities"),
    (
        "mCE, rel. mCE",
        "mean corruption error, and its rise over clean images, each in % of a baseline's; lower is better",
    ),
    ("With an oracle", "the published protocol: somebody who knows which images are attacked picks the branch"),
    ("Best single branch", "one branch for all images, without that knowledge: what can be deployed"),
    ("–", "not measured"),
)


@dataclass(frozen=True)
class Comparison:
    """All that is said of the runs together."""

    datasets: list[str]
    warnings: list[str]
    overview: Table
    branches: Table
    figures: list[PageFigure]
    glossary: Sequence[tuple[str, str]]


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


def comparison(runs: Sequence[Run]) -> Comparison:
    said = [f"Run {run.number}: {sentence}" for run in runs for sentence in run.results.get("warnings") or []]
    return Comparison(
        datasets=sorted({run.results["dataset"] for run in runs}),
        warnings=[*incomparable(runs), *said],
        overview=overview_table(runs),
        branches=branch_table(runs),
        figures=comparison_figures(runs) if len(runs) > 1 else [],
        glossary=glossary(runs),
    )


def glossary(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Every column title with its meaning; the attacks' after those of clean images."""
    titles = ", ".join(attack_titles(runs).values())
    under = [(titles, "accuracy in % under that attack (AdvA), made through the very branch that predicts")]
    return [*GLOSSARY[:2], *(under if titles else []), *GLOSSARY[2:]]


def accuracy_of(results: dict, metric: str, branch: str | int) -> float | None:
    """A clean metric or an attack's accuracy through one branch, in %; None where it was not measured."""
    accuracy = results["accuracy"]
    values = accuracy.get(metric) if metric in CLEAN_METRICS else (accuracy.get("attacks") or {}).get(metric)
    if values is None and results.get("attack") and metric == results["attack"]["name"]:
        values = accuracy.get("AdvA")
    return (values or {}).get(str(branch))


def metrics_of(runs: Sequence[Run]) -> dict[str, str]:
    """Key and title of every metric that a run may have, in the order of the columns."""
    attacks = attack_titles(runs)
    titles = CLEAN_METRICS | attacks
    return {name: titles[name] for name in ("CA", "NPA", *attacks, "mCE", "relative_mCE")}


def attack_titles(runs: Sequence[Run]) -> dict[str, str]:
    """{name: title} of every run's attacks, the weakest first, as each of the runs has them."""
    orders = [list(run.results["attack_titles"]) for run in runs]
    titles = {name: title for run in runs for name, title in run.results["attack_titles"].items()}
    left, found = list(titles), {}
    while left:
        # The first that no run has after another one that is left; were two at odds, the first.
        weakest = next((name for name in left if not any(before(order, name) & {*left} for order in orders)), left[0])
        found[weakest] = titles[weakest]
        left.remove(weakest)
    return found


def before(order: Sequence[str], name: str) -> set[str]:
    return set(order[: order.index(name)]) if name in order else set()


def overview_table(runs: Sequence[Run]) -> Table:
    metrics = metrics_of(runs)
    columns = [Column("Run", numeric=False), Column("Model", numeric=False), Column("Data set", numeric=False)]
    columns += [Column("Images"), Column("kept", "ReLUs"), Column("of", "ReLUs"), Column("%", "ReLUs", 1)]
    columns += [Column(title, "With an oracle, %", 2) for title in metrics.values()]
    columns += [Column("branch", "Best single branch, %")]
    columns += [Column(title, "Best single branch, %", 2) for title in metrics.values()]
    rows = []
    for run in runs:
        results, relus = run.results, run.results["relus"]
        branches = sorted(results["accuracy"]["CA"], key=int)
        single = results["single_branch"]["branch"]
        row: list[Cell] = [name_of(run), results["model"], results["dataset"], results["accuracy"]["images"]]
        row += [relus["kept"], relus["total"], 100 * relus["kept"] / relus["total"]]
        row += [accuracy_of(results, name, branches[0 if name in CLEAN_METRICS else -1]) for name in metrics]
        rows.append([*row, single, *(accuracy_of(results, name, single) for name in metrics)])
    return table("All runs side by side", columns, rows)


def branch_table(runs: Sequence[Run]) -> Table:
    metrics = metrics_of(runs)
    columns = [Column("Run", numeric=False), Column("Branch", numeric=False)]
    columns += [Column(f"{title} %", digits=2) for title in metrics.values()]
    rows = [
        [name_of(run), branch_label(run.results, branch), *(accuracy_of(run.results, name, branch) for name in metrics)]
        for run in runs
        for branch in sorted(run.results["accuracy"]["CA"], key=int)
    ]
    return table("Every branch of every run", columns, rows, narrow=True)


def comparison_figures(runs: Sequence[Run]) -> list[PageFigure]:
    results = [run.results for run in runs]
    labels = [shorten(run.name, 46) for run in runs]
    points = [point_of(each, label) for each, label in zip(results, labels, strict=True)]
    figures = [drawing(pareto_figure(points), "relus", "Accuracy against ReLUs, with an oracle")]
    if any(each["accuracy"].get("corruptions") for each in results):
        lines = [f"{run.number}  {label}" for run, label in zip(runs, labels, strict=True)]
        caption = f"{CAPTIONS['severity']}, through the branch of the clean images"
        figures.append(drawing(accuracy_against_severity(results, lines), "severity", caption))
    return figures


def run_section(run: Run) -> RunSection:
    results, relus = run.results, run.results["relus"]
    pairs = [("model", results["model"]), ("data set", f"{results['dataset']}, {results['image_size']} pixels")]
    pairs += [("ReLUs", share_in_words(relus)), ("images", f"{results['accuracy']['images']:,}")]
    pairs += [("weights", share_in_words(results["weights"]))] if results.get("weights") else []
    pairs += [("attack", attack_in_words(results["attack"]))] if results.get("attack") else []
    pairs += [("corrupted images", corruptions_in_words(results))] if results.get("corrupted_images") else []
    pairs += [("baseline", baseline_in_words(results))] if results["accuracy"].get("mCE") else []
    return RunSection(
        name=name_of(run),
        facts=pairs,
        warnings=results.get("warnings") or [],
        corruptions=list(corruption_tables(results)),
        figures=list(figures_of(run)),
        folded=[*layer_tables(results), *([checkpoint_table(results)] if results.get("checkpoints") else [])],
        provenance=provenance(run),
    )


def name_of(run: Run) -> RunName:
    return RunName(run.number, run.name)


def corruption_tables(results: dict) -> Iterator[Table]:
    """Corruption by severity, a table a branch."""
    severities = severities_of(results)
    columns = [Column("Corruption", numeric=False), Column("Group", numeric=False)]
    columns += [*(Column(str(severity), "Severity", 2) for severity in severities), Column("mean", digits=2)]
    for branch, rows in (results["accuracy"].get("corruptions") or {}).items():
        body = [
            [corruption_label(results, name), group.lower(), *values, mean(values)]
            for group, members in corruption_groups(rows).items()
            for name, values in members.items()
        ]
        means = severity_means(rows)
        title = f"Accuracy on corrupted images in %, {branch_label(results, branch)}"
        yield table(title, columns, body, foot=["mean", "", *means, mean(means)], narrow=True)


def figures_of(run: Run) -> Iterator[PageFigure]:
    """Those that the run's numbers give, and the pictures of its figures/ that its numbers do not give."""
    drawn = run_figures(run.results, run.records)
    for name, figure in drawn.items():
        yield drawing(figure, f"run{run.number}-{name}", caption_of(run.results, name))
    for path in sorted((run.folder / "figures").glob("[!.]*.png")):
        if path.stem not in drawn:
            yield picture(path, caption_of(run.results, path.stem))


def caption_of(results: dict, name: str) -> str:
    if name.startswith("corruption_heatmap_branch"):
        return f"Accuracy on corrupted images, {branch_label(results, name.removeprefix('corruption_heatmap_branch'))}"
    return CAPTIONS.get(name, name.replace("_", " ").capitalize())


def share_in_words(counted: dict) -> str:
    kept, total = counted["kept"], counted["total"]
    return f"{kept:,} of {total:,} ({100 * kept / total:.1f} %)"


def layer_tables(results: dict) -> Iterator[Table]:
    """What the layers keep of their ReLUs and, where these are sparse, of their weights."""
    columns = [Column("Layer", numeric=False), Column("Shape", numeric=False)]
    columns += [Column("Total"), Column("Kept"), Column("Kept %", digits=1)]
    for title, counted in (("ReLUs", results["relus"]), ("Weights", results.get("weights"))):
        rows = [
            [
                layer["layer"],
                "×".join(map(str, layer["shape"])),
                layer["total"],
                layer["kept"],
                100 * layer["kept"] / layer["total"],
            ]
            for layer in (counted or {"layers": []})["layers"]
        ]
        if counted:
            yield table(f"{title} per layer", columns, rows, narrow=True)


def checkpoint_table(results: dict) -> Table:
    columns = [Column("File", numeric=False), Column("Epoch"), Column("Branch", numeric=False)]
    columns += [Column("CA %", digits=2), Column("AdvA %", digits=2)]
    rows = [
        [
            entry["file"].rpartition("/")[2],
            entry["epoch"],
            branch_label(results, branch),
            clean,
            (entry["accuracy"].get("AdvA") or {}).get(branch),
        ]
        for entry in results["checkpoints"]
        for branch, clean in entry["accuracy"]["CA"].items()
    ]
    return table("Selected checkpoints", columns, rows, narrow=True)


def provenance(run: Run) -> list[tuple[str, str]]:
    names = ("schema", "script", "checkpoint", "measured_on", "select_on", "seed", "device", "processes", "wall_time_s")
    known = [("folder", str(run.folder))] + [(name, run.results.get(name)) for name in names]
    known += [("trained branches", run.results.get("trained_branches")), ("attack", run.results.get("attack"))]
    known += [("corrupted images", run.results.get("corrupted_images"))]
    known += [(f"{name} version", version) for name, version in (run.results.get("versions") or {}).items()]
    known += [(f"--{name}", value) for name, value in (run.results.get("args") or {}).items()]
    return [
        (name, value if isinstance(value, str) else json.dumps(value)) for name, value in known if value is not None
    ]
