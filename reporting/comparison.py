"""What a page of results says of all its runs together: figures, the overview, seeds, private costs, masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_lowercase

from formats.results import Results
from reporting.cells import Seeds, Share
from reporting.comparability import Run, incomparable
from reporting.figures import accuracy_against_severity, branch_cell
from reporting.image_figures import shorten
from reporting.masks import masks_side_by_side, overlap_figure, overlaps
from reporting.page import Cell, Column, PageFigure, Table, drawing, shorten_middle, table
from reporting.pareto import Point, pareto_figures
from reporting.private_costs import PrivateCost, belongs_to, most_common_kind, names_of
from reporting.seeds import by_configuration
from reporting.tables import METRICS

CORRUPTION_ERRORS = {"mCE": "mCE", "relative_mCE": "rel. mCE"}
GLOSSARY = (
    ("CA", "clean accuracy in %, on unchanged images"),
    ("NPA", "natural-perturbation accuracy in %: the mean over 15 corruptions and all severities"),
    ("AdvA", "accuracy in % under the attack that the run names, made through the very branch that predicts"),
    (
        "mCE, rel. mCE",
        "mean corruption error, and its rise over clean images, each in % of a baseline's; lower is better",
    ),
    ("With an oracle", "the published protocol: somebody who knows which images are attacked picks the branch"),
    ("Best single branch", "one branch for all images, without that knowledge: what can be deployed"),
    ("±", "half a 95 % interval for as many images; of several seeds one standard deviation"),
    ("–", "not measured"),
)


@dataclass(frozen=True)
class Comparison:
    """All that is said of the runs together. `lead`: the figures that the page begins with, `legend` what they mean."""

    warnings: list[str]
    lead: list[PageFigure]
    legend: str
    overview: Table | None
    tables: list[Table]
    figures: list[PageFigure]
    glossary: Sequence[tuple[str, str]]


def comparison(runs: Sequence[Run], costs: Sequence[PrivateCost] = ()) -> Comparison:
    said = [f"Run {run.number}: {sentence}" for run in runs for sentence in run.results.warnings]
    lead, legend = pareto_drawings(runs, costs)
    return Comparison(
        warnings=[*incomparable(runs), *said],
        lead=[*lead, *(severity_figures(runs) if len(runs) > 1 else [])],
        legend=legend,
        overview=overview_table(runs) if runs else None,
        tables=[found for found in (seeds_table(runs), private_table(runs, costs), branch_table(runs)) if found],
        figures=mask_figures(runs),
        glossary=glossary(runs),
    )


def pareto_drawings(runs: Sequence[Run], costs: Sequence[PrivateCost]) -> tuple[list[PageFigure], str]:
    """Accuracy against ReLUs, and against seconds where anybody has some; and what is seen in both."""
    points, kind = points_of(runs, costs)
    if not kind and len(points) < 2:
        return [], ""
    one = len({run.results.dataset for run in runs}) == 1
    said = ["Accuracy is with an oracle; bars are 95 % intervals, of several seeds one standard deviation."]
    if any(point.mark.isalpha() for point in points):
        said.append("Letters: networks whose evaluations are not here, through the branch that ran.")
    if one:
        said.append("Lines join what no other network beats.")
    if kind:
        said.append(f"Seconds: {', '.join(kind)}.")
    captions = ("Accuracy against ReLUs kept", "Accuracy against the seconds of private inference")
    figures = [
        drawing(figure, f"pareto-{number}", caption)
        for number, (figure, caption) in enumerate(zip(pareto_figures(points, front=one), captions, strict=False))
    ]
    return figures, " ".join(said)


def points_of(runs: Sequence[Run], costs: Sequence[PrivateCost]) -> tuple[list[Point], tuple[str, str, str] | None]:
    """A point a configuration, and one for each network of which only its private cost is known; and of what kind the
    seconds are, None where nobody has any.
    """
    kind = most_common_kind(costs)
    chosen = {cost.sha256 or cost.file: cost for cost in costs if cost.kind == kind}
    points: list[Point] = []
    known: set[str] = set()
    for group in by_configuration(runs):
        found = {key: cost for key, cost in chosen.items() if any(belongs_to(cost, run.results) for run in group)}
        known |= found.keys()
        seconds = [cost.seconds for cost in found.values()]
        found_or_not = {metric: accuracy_of_group(group, metric) for metric in METRICS}
        cells = {metric: cell for metric, cell in found_or_not.items() if cell is not None}
        points.append(
            Point(
                label=group[0].short if len(group) == 1 else f"{group[0].short} and {len(group) - 1} more seeds",
                relus=group[0].results.relus.kept,
                accuracy={metric: cell.value for metric, cell in cells.items()},
                seconds=sum(seconds) / len(seconds) if seconds else None,
                spread={metric: cell.uncertainty for metric, cell in cells.items()},
                mark=",".join(str(run.number) for run in group),
            )
        )
    alone = [cost for key, cost in chosen.items() if key not in known and cost.accuracy]
    names = names_of(costs)
    for cost, letter in zip(alone, ascii_lowercase, strict=False):
        accuracy = {name: share.value for name, share in cost.accuracy.items()}
        spread = {name: share.uncertainty for name, share in cost.accuracy.items()}
        label = f"{shorten_middle(names[cost.file], 28)}, {cost.relus:,} ReLUs"
        points.append(Point(label, cost.relus, accuracy, cost.seconds, spread, letter))
    return points, kind


def accuracy_of_group(group: Sequence[Run], metric: str) -> Share | Seeds | None:
    """With an oracle."""
    values = [value for run in group if (value := getattr(run.results.oracle, metric)) is not None]
    if not values:
        return None
    return Seeds(tuple(values)) if len(values) > 1 else Share(values[0], group[0].results.accuracy.images)


def glossary(runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Every column title with its meaning; the attacks' after those of clean images."""
    titles = ", ".join(attack_titles(runs).values())
    under = [(titles, "accuracy in % under that attack alone")]
    return [*GLOSSARY[:3], *(under if titles else []), *GLOSSARY[3:]]


def accuracy_of(results: Results, metric: str, branch: str | int) -> float | None:
    """A metric or an attack's accuracy through one branch, in %; None where it was not measured."""
    accuracy = results.accuracy
    known = metric in (*METRICS, *CORRUPTION_ERRORS)
    values = accuracy.of(metric) if known else (accuracy.attacks or {}).get(metric)
    if values is None and results.attack and metric == results.attack.name:
        values = accuracy.AdvA
    return (values or {}).get(str(branch))


def share_of(results: Results, metric: str, branch: str | int) -> Cell:
    value = accuracy_of(results, metric, branch)
    return value if value is None or metric in CORRUPTION_ERRORS else Share(value, results.accuracy.images)


def attack_titles(runs: Sequence[Run]) -> dict[str, str]:
    """{name: title} of every run's attacks, the weakest first, as each of the runs has them."""
    orders = [list(run.results.attack_titles) for run in runs]
    titles = {name: title for run in runs for name, title in run.results.attack_titles.items()}
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
    """What a narrow screen shows first comes first: the run, its ReLUs, CA and AdvA."""
    shown = ("CA", "AdvA", "NPA")
    attacks, mains = attack_titles(runs), {run.results.attack.name for run in runs if run.results.attack}
    if len(mains) == 1:
        attacks.pop(mains.pop(), None)  # it is told as AdvA
    columns = [Column("Run", numeric=False), Column("ReLUs")]
    columns += [Column(metric, "With an oracle, %") for metric in shown]
    columns += [Column(title, "Best single branch, %") for title in ("branch", *shown)]
    columns += [Column(title, "Attacked, %") for title in attacks.values()]
    columns += [Column(title, "Of a baseline, %", 1) for title in CORRUPTION_ERRORS.values()]
    unlike = len({run.results.relus.total for run in runs}) > 1
    columns += [Column("%", "ReLUs kept", 1), *([Column("of", "ReLUs kept")] if unlike else [])]
    columns += [Column("Images"), Column("Model", numeric=False)]
    several = len({run.results.dataset for run in runs}) > 1  # of one data set the page's head speaks
    columns += [Column("Data set", numeric=False)] if several else []
    rows = []
    for run in runs:
        results, relus = run.results, run.results.relus
        branches = sorted(results.accuracy.CA, key=int)
        single = results.single_branch.branch
        row: list[Cell] = [run.label, relus.kept]
        row += [share_of(results, metric, branches[-1 if metric == "AdvA" else 0]) for metric in shown]
        row += [single, *(share_of(results, metric, single) for metric in shown)]
        row += [share_of(results, name, single) for name in attacks]
        row += [accuracy_of(results, name, branches[0]) for name in CORRUPTION_ERRORS]
        row += [relus.share, *([relus.total] if unlike else [])]
        rows.append([*row, results.accuracy.images, results.model, *([results.dataset] if several else [])])
    return table("All runs side by side", columns, rows)


def seeds_table(runs: Sequence[Run]) -> Table | None:
    """Mean and standard deviation over the seeds of every configuration that has several."""
    groups = [group for group in by_configuration(runs) if len(group) > 1]
    if not groups:
        return None
    columns = [Column("Runs", numeric=False), Column("Model", numeric=False), Column("Seeds"), Column("ReLUs")]
    columns += [Column(f"{metric} %") for metric in METRICS]
    rows = [
        [
            ", ".join(str(run.number) for run in group),
            group[0].results.model,
            len(group),
            group[0].results.relus.kept,
            *(accuracy_of_group(group, metric) for metric in METRICS),
        ]
        for group in groups
    ]
    return table("Seeds: mean and standard deviation, with an oracle", columns, rows, narrow=True)


def private_table(runs: Sequence[Run], costs: Sequence[PrivateCost]) -> Table | None:
    """A network goes by the run on this page that is of its file, else by a name of its own."""
    if not costs:
        return None
    names = names_of(costs)

    def named(cost: PrivateCost) -> Cell:
        return next((run.label for run in runs if belongs_to(cost, run.results)), names[cost.file])

    columns = [Column("Network", numeric=False), Column("ReLUs"), Column("s", "An image", 2)]
    columns += [Column("MB", "An image", 1), Column("rounds", "An image", 0), Column("Protocol", numeric=False)]
    columns += [Column("Link", numeric=False), Column("How", numeric=False), Column("Branch")]
    columns += [
        *(Column(f"{metric} %", "In the clear") for metric in METRICS),
        Column("images", "In the clear", numeric=False),
    ]
    rows = [
        [
            *(named(cost), cost.relus, cost.seconds, cost.bytes / 1e6, cost.rounds),
            *(cost.protocol, cost.link, cost.how, cost.branch),
            *(cost.accuracy.get(metric) for metric in METRICS),
            cost.measured_on,
        ]
        for cost in costs
    ]
    return table("Private inference, an image after the first", columns, rows, narrow=True)


def branch_table(runs: Sequence[Run]) -> Table | None:
    metrics = {"CA": "CA", "NPA": "NPA", **attack_titles(runs), **CORRUPTION_ERRORS}
    if not any(len(run.results.accuracy.CA) > 1 for run in runs):
        return None
    columns = [Column("Run", numeric=False), Column("Branch", numeric=False)]
    columns += [Column(f"{title} %", digits=1) for title in metrics.values()]
    rows = [
        [run.label, branch_cell(run.results, branch), *(share_of(run.results, name, branch) for name in metrics)]
        for run in runs
        for branch in sorted(run.results.accuracy.CA, key=int)
    ]
    return table("Every branch of every run", columns, rows, narrow=True)


def severity_figures(runs: Sequence[Run]) -> list[PageFigure]:
    if not any(run.results.accuracy.corruptions for run in runs):
        return []
    lines = [f"{run.number}  {run.short}" for run in runs]
    caption = "Mean accuracy by severity of the corruption, clean branch"
    return [drawing(accuracy_against_severity([run.results for run in runs], lines), "severity", caption)]


def mask_figures(runs: Sequence[Run]) -> list[PageFigure]:
    """Of the runs that have masks, where there are several."""
    masked = [run for run in runs if run.masks]
    if len(masked) < 2:
        return []
    every = [run.masks for run in masked if run.masks]
    labels = [f"{run.number}  {shorten(run.short, 18)}" for run in masked]
    shared = [found | {"of": [masked[place - 1].number for place in found["of"]]} for found in overlaps(every)]
    caption = "Overlap of masks by layer: positions that both keep, of those that either keeps"
    figures = [drawing(overlap_figure(shared), "overlap", caption)] if shared else []
    return [*figures, drawing(masks_side_by_side(every, labels), "masks", "Where each run keeps its ReLUs")]
