"""The table of a reproduction, in Markdown: a row a network, and nothing that was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attacks.autoattack import ENTRY as AUTOATTACK
from formats.results import Results
from helper.text import percent
from helper.zoo import entry_of_file
from reporting.comparability import attack_in_words
from reporting.figure_style import short_count
from reporting.pareto import SECONDS, Point
from reporting.results import read_results
from reporting.tables import METRICS
from reproduction.config import TRAININGS, Config
from reproduction.ledger import Ledger
from reproduction.private import is_estimate, private_cost
from reproduction.steps import Row, Step

ROLES = {
    "teacher": "teacher",
    "student": "student",
    "interpolated": "one branch, interpolated",
    "one_branch": "one branch, fine-tuned",
}


def results_table(config: Config, rows: Sequence[Row], ledger: Ledger) -> str:
    """Every row whose training is finished; of a measurement that is missing the cell is empty."""
    made = [row for row in rows if all(ledger.is_done(step) for step in row.made_by)]
    head = ["network", "ReLUs", "branch", "CA", "NPA", _attack(made, ledger), AUTOATTACK.title]
    head += ["MB", "rounds", "epochs", "hours", "seed"]
    lines = [_line(head), _line(["---"] * len(head))]
    return "\n".join([*lines, *(line for row in made for line in _row_lines(row, ledger))])


def _attack(rows: Sequence[Row], ledger: Ledger) -> str:
    """What AdvA is under, in words."""
    measured = [found["evaluation"] for row in rows if "evaluation" in (found := measured_of(row, ledger))]
    words = dict.fromkeys(attack_in_words(results.attack) for results in measured if results.attack)
    return " or ".join(words) or "AdvA"


def _row_lines(row: Row, ledger: Ledger) -> list[str]:
    measured = measured_of(row, ledger)
    source = sources(measured)
    strongest = measured["autoattack"].accuracy.attacks if "autoattack" in measured else None
    branches = list(next(iter(measured.values())).accuracy.CA) if measured else [""]
    trained = [step for step in row.made_by if step.kind in TRAININGS]
    epochs, hours = training_cells(row)
    private = private_of(row, ledger)
    cost = _private_cells(private) if private else ["", ""]
    # Of a budget in seconds only the run knows how many ReLUs it bought.
    kept = row.relus if row.relus is not None else read_results(trained[-1].marker).relus.kept
    lines = []
    for position, branch in enumerate(branches):
        first = position == 0
        relus = f"{kept:,} ({100 * kept / row.total:.0f} %)"
        cells = [f"{ROLES[row.role]}, {row.round.title}" if first else "", relus if first else "", branch]
        cells += [_percent(of.accuracy.of(metric) if (of := source[metric]) else {}, branch) for metric in METRICS]
        cells.append(_percent((strongest or {}).get(AUTOATTACK.name), branch))
        cells += [*cost, epochs, hours, str(row.seed)] if first else [""] * 5
        lines.append(_line(cells))
    return lines


def training_cells(row: Row) -> list[str]:
    """Epochs and hours of all the trainings that led to a network; of a given teacher as far as the zoo knows them."""
    trained = [step for step in row.made_by if step.kind in TRAININGS]
    epochs = sum(step.options["epochs"] for step in trained)
    # Of the runs themselves, so that one that was begun by hand counts too.
    hours = sum((read_results(step.marker).wall_time_s or 0) for step in trained) / 3600
    unknown = ""
    for given in (step for step in row.made_by if step.kind == "given"):
        entry = entry_of_file(given.product)
        if entry is None or entry.epochs is None or entry.hours is None:
            unknown = " + its teacher's"
        else:
            epochs, hours = epochs + entry.epochs, hours + entry.hours
    return [f"{epochs}{unknown}", f"{hours:.1f}{unknown}"]


def measured_of(row: Row, ledger: Ledger) -> dict[str, Results]:
    """The accuracies of a network that are known, by the kind of their measurement."""
    steps = {kind: step for kind, step in row.measurements.items() if kind != "private" and ledger.is_done(step)}
    return {kind: read_results(step.marker) for kind, step in steps.items()}


def sources(measured: Mapping[str, Results]) -> dict[str, Results | None]:
    """Where CA, NPA and AdvA are taken from."""
    evaluation = measured.get("evaluation")
    return {metric: measured.get("corruptions", evaluation) if metric == "NPA" else evaluation for metric in METRICS}


def private_of(row: Row, ledger: Ledger) -> Step | None:
    """Its private inference, where that is done."""
    step = row.measurements.get("private")
    return step if step and ledger.is_done(step) else None


def _private_cells(step: Step) -> list[str]:
    """Megabytes both ways and rounds of an image."""
    cost = private_cost(step)
    about = "est. " if is_estimate(step) else ""
    return [f"{about}{cost.bytes / 1e6:.1f}", f"{about}{cost.rounds:.0f}"]


def pareto_points(rows: Sequence[Row], ledger: Ledger) -> tuple[list[Point], str]:
    """Every evaluated network, with its seconds of private inference where known; and what seconds these are."""
    points: list[Point] = []
    words: dict[str, None] = {}
    for row in rows:
        measured = measured_of(row, ledger)
        if "evaluation" not in measured:
            continue
        private = private_of(row, ledger)
        cost = private_cost(private) if private else None
        if cost:
            words[f"{cost.protocol} over {cost.link}, {cost.how}"] = None
        results = measured["evaluation"]
        label = f"{ROLES[row.role]}, {row.round.title}, {short_count(results.relus.kept)} ReLUs"
        known = {metric: getattr(of.oracle, metric) for metric, of in sources(measured).items() if of}
        accuracy = {metric: share for metric, share in known.items() if share is not None}
        points.append(Point(label, results.relus.kept, accuracy, cost.seconds if cost else None))
    return points, f"{SECONDS}\n{'; '.join(words)}"


def _percent(values: Mapping[str, float] | None, branch: str) -> str:
    value = (values or {}).get(branch)
    return "" if value is None else percent(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
