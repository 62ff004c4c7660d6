"""The table of a reproduction, in Markdown: a row a network, and nothing that was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attacks.autoattack import ENTRY as AUTOATTACK
from helper.errors import UserError
from helper.files import read_text, replace_file
from helper.text import percent
from reporting.figure_style import short_count
from reporting.pareto import SECONDS, Point, point_of
from reporting.results import read_results
from reproduction.config import TRAININGS, Config
from reproduction.ledger import Ledger
from reproduction.private import is_estimate, private_cost
from reproduction.steps import Row, Step

HEAD = (
    "network",
    "ReLUs",
    "branch",
    "CA",
    "NPA",
    "PGD-20",
    AUTOATTACK.title,
    "MB",
    "rounds",
    "epochs",
    "hours",
    "seed",
)
ROLES = {"teacher": "teacher", "student": "student", "interpolated": "student, one branch"}


def results_table(config: Config, rows: Sequence[Row], ledger: Ledger) -> str:
    """Every row whose training is finished; of a measurement that is missing the cell is empty."""
    lines = [_line(HEAD), _line(["---"] * len(HEAD))]
    for row in rows:
        if all(ledger.is_done(step) for step in row.made_by):
            lines += _row_lines(row, ledger)
    return "\n".join(lines)


def _row_lines(row: Row, ledger: Ledger) -> list[str]:
    files = {kind: step.marker for kind, step in row.measurements.items() if ledger.is_done(step)}
    accuracy, strongest = (
        read_results(files[kind]).accuracy if kind in files else None for kind in ("evaluation", "autoattack")
    )
    measured = accuracy or strongest
    branches = list(measured.CA) if measured else [""]
    trained = [step for step in row.made_by if step.kind in TRAININGS]
    epochs = sum(step.options["epochs"] for step in trained)
    # Of the runs themselves, so that one that was begun by hand counts too.
    hours = sum((read_results(step.marker).wall_time_s or 0) for step in trained) / 3600
    cost = _private_cells(row.measurements["private"]) if "private" in files else ["", ""]
    # Of a budget in seconds only the run knows how many ReLUs it bought.
    kept = row.relus if row.relus is not None else read_results(trained[-1].marker).relus.kept
    lines = []
    for position, branch in enumerate(branches):
        first = position == 0
        relus = f"{kept:,} ({100 * kept / row.total:.0f} %)"
        cells = [f"{ROLES[row.role]}, {row.round.title}" if first else "", relus if first else "", branch]
        cells += [_percent(accuracy.of(metric) if accuracy else {}, branch) for metric in ("CA", "NPA", "AdvA")]
        cells.append(_percent((strongest.attacks or {}).get(AUTOATTACK.name) if strongest else {}, branch))
        cells += [*cost, str(epochs), f"{hours:.1f}", str(row.seed)] if first else [""] * 5
        lines.append(_line(cells))
    return lines


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
        done = {kind: step for kind, step in row.measurements.items() if ledger.is_done(step)}
        if "evaluation" not in done:
            continue
        cost = private_cost(done["private"]) if "private" in done else None
        if cost:
            words[f"{cost.protocol} over {cost.link}, {cost.how}"] = None
        results = read_results(done["evaluation"].marker)
        label = f"{ROLES[row.role]}, {row.round.title}, {short_count(results.relus.kept)} ReLUs"
        points.append(point_of(results, label, cost.seconds if cost else None))
    return points, f"{SECONDS}\n{'; '.join(words)}"


def _percent(values: Mapping[str, float] | None, branch: str) -> str:
    value = (values or {}).get(branch)
    return "" if value is None else percent(value)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def put_into(path: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of `name` in a Markdown file; without marks they are added at its end."""
    begin, end = f"<!-- {name}: written by reproduce.py -->", f"<!-- end of {name} -->"
    content = read_text(path) if path.exists() else ""
    block = f"{begin}\n{text}\n{end}"
    if begin in content:
        before, _, rest = content.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise UserError(f"{path}: the mark '{end}' is missing")
        content = before + block + after
    else:
        content = f"{content.rstrip()}\n\n{block}\n".lstrip()
    replace_file(path, lambda file: file.write(content.encode()))
