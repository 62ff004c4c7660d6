"""The pieces of a page of results, tables that can be sorted and figures, and the page: one file that fetches nothing.

How they look is in templates/, where everything but Markup is escaped. What a file says is never made Markup.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from helper.errors import UserError
from helper.files import Kind, read_bytes
from reporting.cells import Seeds, Share
from reporting.figure_style import COLUMN, DPI, DROPPED, GRID, INK, KEPT, MUTED, render

MISSING = "–"
# What follows the reader's colour scheme; the other colours read well on light and dark.
THEMED = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    DROPPED: "var(--dropped)",
    KEPT: "var(--first)",
}


@dataclass(frozen=True)
class RunName:
    """A run as a cell: it links to the run's section. `full`: its whole name, which `text` may shorten."""

    number: int
    text: str
    full: str


def shorten_middle(text: str, length: int) -> str:
    """Beginning and end of a longer text: names differ at either."""
    if len(text) <= length:
        return text
    end = length // 3
    return f"{text[: length - end - 1]}…{text[-end:]}"


Cell = str | int | float | RunName | Share | Seeds | None


@dataclass(frozen=True)
class Column:
    """`digits` after the point; None for text and whole numbers. Columns of one `group` stand next to each other.

    `opens`: another group begins here; `table` sets it.
    """

    title: str
    group: str = ""
    digits: int | None = None
    numeric: bool = True
    opens: bool = False

    def show(self, value: Cell) -> str:
        if is_missing(value):
            return MISSING
        if isinstance(value, str | Share | Seeds):
            return str(value)
        return f"{value:,}" if self.digits is None else f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class Table:
    """The first cell of a row heads it; `foot` stays below when rows move. `heat`: accuracies are coloured.

    `note`: what is said of all cells.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    foot: Sequence[Cell] | None
    narrow: bool
    heat: bool = False
    note: str = ""

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Title and number of columns of each."""
        return [(title, len(list(members))) for title, members in groupby(column.group for column in self.columns)]


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    foot: Sequence[Cell] | None = None,
    narrow: bool = False,
    heat: bool = False,
    note: str = "",
) -> Table:
    """Columns without a single value are left out."""
    used = [place for place in range(len(columns)) if place == 0 or any(not is_missing(row[place]) for row in rows)]
    shown = [columns[place] for place in used]
    before = [shown[0], *shown]
    shown = [replace(column, opens=column.group != left.group) for left, column in zip(before, shown, strict=False)]
    kept = [[row[place] for place in used] for row in rows]
    return Table(caption, shown, kept, foot and [foot[place] for place in used], narrow, heat, note)


def is_missing(value: Cell) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def sort_key(value: Cell) -> str:
    """What the page's script sorts a cell by; empty where nothing was measured."""
    if is_missing(value):
        return ""
    if isinstance(value, RunName):
        return str(value.number)
    if isinstance(value, Share | Seeds):
        return repr(value.value)
    return value if isinstance(value, str) else repr(value)


@dataclass(frozen=True)
class PageFigure:
    """`svg`: a drawing, from its first attribute on; or `png_base64`: a picture."""

    caption: str
    wide: bool
    svg: Markup | None = None
    png_base64: str | None = None


def drawing(figure: Figure, key: str, caption: str) -> PageFigure:
    """A figure as inline SVG; `key` makes its ids differ from those of every other figure of the page."""
    svg = render(figure, "svg").decode()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", svg)
    # A size in points would win over that of the page.
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    for colour, variable in THEMED.items():
        svg = svg.replace(colour, variable)
    svg = re.sub(r"\n\s*", "\n", svg).strip().removeprefix("<svg ")
    return PageFigure(caption, is_wide(figure.get_figwidth()), svg=Markup(svg))


def picture(path: Path, caption: str) -> PageFigure:
    """A PNG file as part of the page. Raises UserError for another file."""
    content = read_bytes(path, Kind.IMAGE)
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise UserError(f"{path}: not a PNG picture, or a damaged one; remove it, or draw it again")
    inches = int.from_bytes(content[16:20], "big") / DPI
    return PageFigure(caption, is_wide(inches), png_base64=base64.b64encode(content).decode())


def is_wide(inches: float) -> bool:
    return inches > 1.5 * COLUMN


def breakable(name: str) -> Markup:
    """A name of a hundred characters without a space, with places where a line may end."""
    return Markup("<wbr>").join(re.split(r"(?<=[_/:+])", name))


def page(**content: object) -> bytes:
    """templates/page.html filled with `content`: `title`, `comparison` and `runs`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": breakable, "sort_key": sort_key}
    environment.filters["warmth"] = lambda value: f"{value.value:.0f}" if isinstance(value, Share) else ""
    environment.tests |= {"missing": is_missing, "run_name": lambda value: isinstance(value, RunName)}
    return environment.get_template("page.html").render(content).encode()
