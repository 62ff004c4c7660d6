"""One page with the results of any number of runs side by side: tables that sort, figures, and where they come from.

    python report.py save/validation/*/ --out report.html

A RUN is the folder of a run, or its results.json. The page is one file that needs no network and nothing beside it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from helper.script import run_script

from helper import command_line
from helper.errors import UserError
from helper.files import replace_file
from helper.run_folder import read_log
from reporting.comparability import Run
from reporting.page import page
from reporting.results import read_results
from reporting.sections import comparison, run_section


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run, or its results.json")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html")
    parser.add_argument("--title", default="RLNet results", help="default: RLNet results")
    return parser.parse_args(argv)


def read_runs(paths: list[Path]) -> list[Run]:
    """The runs in the order given, each once."""
    files = {}
    for path in paths:
        file = path / "results.json" if path.is_dir() else path
        files.setdefault(file.resolve(), file)
    return [
        Run(number, name, file.parent, read_results(file), records_of(file.parent))
        for number, (name, file) in enumerate(zip(tell_apart(list(files)), files.values(), strict=True), 1)
    ]


def tell_apart(files: list[Path]) -> list[str]:
    """The folder's name; as many folders above it as it takes where that is another run's name too."""
    names = [file.parent.parts[1:] if file.name == "results.json" else file.parts[1:] for file in files]
    lengths = [1] * len(names)
    while True:
        shown = ["/".join(name[-length:]) for name, length in zip(names, lengths, strict=True)]
        count = Counter(shown)
        longer = [
            length + (count[name] > 1 and length < len(parts))
            for name, length, parts in zip(shown, lengths, names, strict=True)
        ]
        if longer == lengths:
            return shown
        lengths = longer


def records_of(folder: Path) -> list[dict]:
    try:
        return read_log(folder)
    except ValueError as error:
        raise UserError(f"{folder / 'log.jsonl'}: not one JSON record a line, or a damaged file") from error


@contextmanager
def blamed_on(where: str) -> Iterator[None]:
    """Raise UserError where a file keeps to its schema in name only."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        kind = type(error).__name__
        raise UserError(f"{where}: results.json or log.jsonl lacks what it should hold ({kind}: {error})") from error


def main(args: argparse.Namespace) -> None:
    runs = read_runs(args.runs)
    sections = []
    for run in runs:
        with blamed_on(str(run.folder)):
            sections.append(run_section(run))
    with blamed_on(", ".join(str(run.folder) for run in runs)):
        compared = comparison(runs)
    content = page(title=args.title, comparison=compared, runs=sections)
    replace_file(args.out, lambda file: file.write(content))
    print(f"written to {args.out}: {len(content) / 1e6:.1f} MB")


if __name__ == "__main__":
    run_script(main, parse_args)
