"""The table of a reproduction, in Markdown: a row a network, and nothing that was not measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attacks.autoattack import ENTRY as AUTOATTACK
from helper.errors import UserError
from helper.files import read_text, replace_file
from helper.text import percent
from private_inference.costs.tables import all_costs, read_costs
from reporting.results import read_results
from reproduction.config import TRAININGS, Config
from reproduction.ledger import Ledger
from reproduction.steps import Row

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
        read_results(files[kind])["accuracy"] if kind in files else {} for kind in ("evaluation", "autoattack")
    )
    branches = list(accuracy.get("CA") or strongest.get("CA") or {"": None})
    trained = [step for step in row.made_by if step.kind in TRAININGS]
    epochs = sum(step.options["epochs"] for step in trained)
    # Of the runs themselves, so that one that was begun by hand counts too.
    hours = sum(read_results(step.marker)["wall_time_s"] for step in trained) / 3600
    cost = _private_cost(files.get("private"))
    lines = []
    for position, branch in enumerate(branches):
        first = position == 0
        relus = f"{row.relus:,} ({100 * row.relus / row.total:.0f} %)"
        cells = [f"{ROLES[row.role]}, {row.round.title}" if first else "", relus if first else "", branch]
        cells += [_percent(accuracy, metric, branch) for metric in ("CA", "NPA", "AdvA")]
        cells.append(_percent(strongest.get("attacks", {}), AUTOATTACK.name, branch))
        cells += [*cost, str(epochs), f"{hours:.1f}", str(row.seed)] if first else [""] * 5
        lines.append(_line(cells))
    return lines


def _private_cost(report: Path | None) -> list[str]:
    """Megabytes both ways and rounds of an image, of a later one where several were run."""
    if report is None:
        return ["", ""]
    (costs,), state = all_costs(read_costs(report))
    cost = costs.total(state)
    return [f"{cost.bytes / 1e6:.1f}", f"{cost.rounds:.0f}"]


def _percent(accuracy: Mapping, metric: str, branch: str) -> str:
    value = (accuracy.get(metric) or {}).get(branch)
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
