"""Text for a terminal: plain tables, numbers and durations."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Sequence

NO_BREAK = "\N{NO-BREAK SPACE}"


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def duration(seconds: float) -> str:
    """75 -> '75 s', 600 -> '10 min', 9000 -> '2.5 h'"""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def count(number: int, what: str) -> str:
    """'1 batch', '2 batches'"""
    plural = "es" if what.endswith("ch") and what != "epoch" else "s"
    return f"{number:,} {what}{plural if number != 1 else ''}"


def listed(parts: Sequence[str]) -> str:
    """Joined by commas, in lines no wider than the terminal that break between parts."""
    whole = ", ".join(part.replace(" ", NO_BREAK) for part in parts)
    width = shutil.get_terminal_size().columns
    lines = textwrap.wrap(whole, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace(NO_BREAK, " ")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be, the first to the left, the others to the right; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()

    return "\n".join([line(rows[0]), "  ".join("-" * width for width in widths), *(line(row) for row in rows[1:])])
