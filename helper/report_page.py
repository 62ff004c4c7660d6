"""The pieces of a page of results: tables that can be sorted, inline figures, boxes; one file that fetches nothing.

Everything that comes from a file is escaped where it becomes HTML, in the functions here and nowhere else.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template

from matplotlib.figure import Figure

from helper.errors import UserError
from helper.figure_style import COLUMN, DPI, DROPPED, GRID, INK, KEPT, MUTED, render

MISSING = "–"
# What follows the reader's colour scheme; the other colours read well on light and dark.
THEMED = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    DROPPED: "var(--dropped)",
    KEPT: "var(--first)",
}


class Markup(str):
    """HTML, where a plain string is text."""


@dataclass(frozen=True)
class Column:
    """`digits` after the point; None for text and whole numbers. Columns of one `group` stand next to each other."""

    title: str
    group: str = ""
    digits: int | None = None
    numeric: bool = True


@dataclass(frozen=True)
class RunName:
    """The number and name of a run, with a link to its section."""

    number: int
    name: str

    @property
    def html(self) -> Markup:
        return Markup(f'<a href="#run-{self.number}">{badge(self.number)}{breakable(self.name)}</a>')


Cell = str | int | float | RunName | None


def page(title: str, parts: Iterable[Markup]) -> bytes:
    files = {name: Path(__file__).with_name(f"report_page.{name}").read_text() for name in ("html", "css", "js")}
    content = "\n".join(parts)
    filled = Template(files["html"]).substitute(
        title=escape(title), style=files["css"].strip(), script=files["js"].strip(), content=content
    )
    return filled.encode()


def element(tag: str, content: str, **attributes: str) -> Markup:
    """<tag class="a">content</tag> of class_="a". Escapes `content` unless it is Markup; leaves empty values out."""
    named = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value}
    written = "".join(f' {name}="{escape(value)}"' for name, value in named.items())
    return Markup(f"<{tag}{written}>{content if isinstance(content, Markup) else escape(content)}</{tag}>")


def join(parts: Iterable[str]) -> Markup:
    return Markup("\n".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def badge(number: int) -> Markup:
    return element("span", str(number), class_="number-of-run")


def breakable(name: str) -> Markup:
    """A name of a hundred characters without a space, with places where a line may end."""
    return Markup(re.sub(r"([_/:+])", r"\1<wbr>", escape(name)))


def items(sentences: Iterable[str]) -> Markup:
    return element("ul", join(element("li", sentence) for sentence in sentences))


def warning_box(heading: str, sentences: Sequence[str], level: str = "h3") -> Markup:
    """Nothing at all where there is nothing to warn of."""
    if not sentences:
        return Markup()
    return element("div", join([element(level, heading), items(sentences)]), class_="warnings", role="note")


def folded(summary: str, content: Markup) -> Markup:
    return element("details", join([element("summary", summary), content]))


def facts(pairs: Iterable[tuple[str, str]]) -> Markup:
    entries = (Markup(f"<span>{escape(name)}</span> {escape(value)}") for name, value in pairs)
    return element("ul", join(element("li", entry) for entry in entries), class_="facts")


def definitions(pairs: Iterable[tuple[str, str]]) -> Markup:
    entries = (join([element("dt", name), element("dd", meaning)]) for name, meaning in pairs)
    return element("dl", join(entries), class_="terms")


def table(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Sequence[Cell]],
    *,
    foot: Sequence[Cell] | None = None,
    narrow: bool = False,
) -> Markup:
    """A table in a box of its own that scrolls; the first cell of a row heads it; `foot` stays below when rows move.

    Columns without a single value are left out.
    """
    used = [place for place in range(len(columns)) if place == 0 or any(not is_missing(row[place]) for row in rows)]
    shown = [columns[place] for place in used]
    opens = {n for n in range(1, len(shown)) if shown[n].group != shown[n - 1].group}

    def line(row: Sequence[Cell]) -> Markup:
        cells = (cell(row[place], columns[place], n == 0, n in opens) for n, place in enumerate(used))
        return element("tr", Markup("".join(cells)))

    head = [element("tr", Markup("".join(head_cell(column, n in opens) for n, column in enumerate(shown))))]
    if opens:
        edges = [0, *sorted(opens), len(shown)]
        spans = (
            element(
                "th",
                shown[start].group,
                class_="opens" if start else "",
                colspan=str(end - start),
                scope="colgroup" if shown[start].group else "",
            )
            for start, end in pairwise(edges)
        )
        head.insert(0, element("tr", Markup("".join(spans)), class_="groups"))
    parts = [element("caption", caption), element("thead", join(head)), element("tbody", join(map(line, rows)))]
    if foot:
        parts.append(element("tfoot", line(foot)))
    look = "scroll narrow" if narrow else "scroll"
    return element("div", element("table", join(parts)), class_=look, role="region", aria_label=caption, tabindex="0")


def head_cell(column: Column, opens: bool) -> Markup:
    look = " ".join(name for name, on in (("number", column.numeric), ("opens", opens)) if on)
    button = element("button", column.title, type="button")
    return Markup(f'<th class="{look}" scope="col" aria-sort="none">{button}</th>')


def cell(value: Cell, column: Column, heads: bool, opens: bool) -> Markup:
    """One cell, with what it is sorted by in data-value; that is empty where nothing was measured."""
    if is_missing(value):
        key, shown = "", Markup(MISSING)
    elif isinstance(value, RunName):
        key, shown = str(value.number), value.html
    elif isinstance(value, str):
        key, shown = value, value
    else:
        key = repr(value)
        shown = f"{value:,}" if column.digits is None else f"{value:.{column.digits}f}"
    flags = (("number", column.numeric and not heads), ("missing", is_missing(value)), ("opens", opens))
    look = " ".join(name for name, on in flags if on)
    scope = ' scope="row"' if heads else ""
    content = shown if isinstance(shown, Markup) else escape(shown)
    tag = "th" if heads else "td"
    return Markup(f'<{tag}{scope} class="{look}" data-value="{escape(key)}">{content}</{tag}>')


def is_missing(value: Cell) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def drawing(figure: Figure, key: str, caption: str) -> Markup:
    """A figure as inline SVG; `key` makes its ids differ from those of every other figure of the page."""
    svg = render(figure, "svg").decode()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{key}-", svg)
    # A size in points would win over that of the page.
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{escape(caption)}" ', 1)
    for colour, variable in THEMED.items():
        svg = svg.replace(colour, variable)
    return framed(Markup(re.sub(r"\n\s*", "\n", svg)), caption, figure.get_figwidth())


def picture(path: Path, caption: str) -> Markup:
    """A PNG file as part of the page."""
    content = path.read_bytes()
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        raise UserError(f"{path}: not a PNG picture, or a damaged one; remove it, or draw it again")
    image = f'<img src="data:image/png;base64,{base64.b64encode(content).decode()}" alt="{escape(caption)}">'
    return framed(Markup(image), caption, int.from_bytes(content[16:20], "big") / DPI)


def framed(content: Markup, caption: str, inches: float) -> Markup:
    look = "wide" if inches > 1.5 * COLUMN else ""
    return element("figure", join([element("figcaption", caption), content]), class_=look)


def gallery(figures: Sequence[Markup]) -> Markup:
    """Column figures side by side, page figures below them."""
    wide = [figure for figure in figures if figure.startswith('<figure class="wide"')]
    slim = [figure for figure in figures if figure not in wide]
    rows = [
        element("div", join(part), class_=look) for look, part in (("figures", slim), ("wide-figures", wide)) if part
    ]
    return join(rows)
