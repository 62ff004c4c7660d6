"""What all figures share: sizes, colours, type, and how they become files.

Column figures are 3.35 inches wide, page figures 7; nothing in them is smaller than 6 points. The colours are Okabe and
Ito's, which colour-blind readers tell apart. No pyplot: a figure belongs to whoever asked for it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import wraps
from operator import methodcaller
from pathlib import Path

from matplotlib import style
from matplotlib.figure import Figure

from helper.files import replace_file

COLUMN, PAGE = 3.35, 7.0
DPI = 200
INK, MUTED, GRID = "#262626", "#6e6e6e", "#dedede"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
KEPT, DROPPED = SERIES[0], "#c9c9c9"
STYLE = {
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.titlepad": 7,
    "axes.labelsize": 7.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.use_mathtext": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    # The same figure, the same bytes; and text that stays text in a paper.
    "svg.hashsalt": "rlnet",
    "pdf.fonttype": 42,
}


def literal(text: str) -> str:
    """`text` so that matplotlib shows it as it is: it reads mathematics between dollar signs, and hides '_names'."""
    return f"{' ' if text.startswith('_') else ''}{text}".replace("$", r"\$")


def short_count(value: float) -> str:
    """28,262 as 28k: for axes, where places are what counts."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def line_style(number: int) -> dict:
    """Colour and dashes of the number-th line of a plot: all differ up to 28 lines."""
    return {"color": SERIES[number % len(SERIES)], "linestyle": ("-", "--", ":", "-.")[number // len(SERIES) % 4]}


def styled(draw: Callable) -> Callable:
    """Run `draw` under our style on top of matplotlib's defaults, whatever the user's matplotlibrc says."""

    @wraps(draw)
    def wrapped(*args, **kwargs):
        with style.context(["default", STYLE]):
            return draw(*args, **kwargs)

    return wrapped


@styled  # ticks come into being only now
def render(figure: Figure, kind: str) -> bytes:
    """The figure as 'png', 'pdf', or 'svg' without a background; the same bytes whenever it is done."""
    stamps = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    content = io.BytesIO()
    figure.savefig(content, format=kind, dpi=DPI, metadata=stamps[kind], transparent=kind == "svg")
    return content.getvalue()


def save_figure(figure: Figure, path: Path) -> None:
    """Write <path>.png and <path>.pdf, each in one go: an interruption leaves no half-written file."""
    for kind in ("png", "pdf"):
        write = methodcaller("write", render(figure, kind))
        # A name may hold dots of its own, which with_suffix would take for a suffix.
        replace_file(path.with_name(f"{path.name}.{kind}"), write)


def save_figures(figures: Mapping[str, Figure], folder: Path) -> None:
    """All of them, by name. Figures of an earlier evaluation with other options, which would not belong here, go."""
    for name, figure in figures.items():
        save_figure(figure, folder / name)
    for path in folder.iterdir():
        if path.suffix in (".png", ".pdf") and path.stem not in figures:
            path.unlink()
