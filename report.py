"""One page with the results of any number of runs side by side: figures, tables that sort, and where they come from.

    python report.py save/validation/*/ --out report.html
    python report.py save/validation/*/ save/private_inference/*/ save/models/teacher

A RUN is the folder of an evaluation, of a training or of a measurement of private inference, or the JSON file in it.
Runs that differ in their seeds alone are told together, too. The page is one file that needs no network and nothing
beside it.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from formats.private_costs import Estimates
from helper import command_line
from helper.errors import UserError
from helper.files import load_arrays, read_record, real_path, replace_file
from helper.run_folder import MASKS, read_log
from private_inference.costs.tables import FILE_NAME as MEASURED
from private_inference.costs.tables import read_costs
from reporting.comparability import Run
from reporting.comparison import comparison
from reporting.page import page
from reporting.private_costs import PrivateCost, estimated_costs, measured_costs
from reporting.results import read_results
from reporting.sections import run_section

RESULTS, ESTIMATE = "results.json", "estimate.json"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="the folder of a run, or its JSON file")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html")
    parser.add_argument("--title", default="RLNet results", help="default: RLNet results")
    return parser.parse_args(argv)


def found_files(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """(results.json of evaluations and trainings, JSON of private inference), in the order given, each once."""
    results: dict[Path, Path] = {}
    private: dict[Path, Path] = {}
    for path in paths:
        inside = [path / name for name in (RESULTS, MEASURED, ESTIMATE) if (path / name).is_file()]
        if path.is_dir() and not inside:
            raise UserError(
                f"{path}: holds no {RESULTS}, which a run writes when it is done; leave it out, or go on with it "
                "(--resume auto)"
            )
        for file in inside or [path]:
            (private if file.name in (MEASURED, ESTIMATE) else results).setdefault(real_path(file), file)
    return list(results.values()), list(private.values())


def read_runs(files: list[Path]) -> list[Run]:
    names = tell_apart([real_path(file) for file in files])
    return [
        Run(number, name, file.parent, read_results(file), read_log(file.parent), masks_of(file.parent))
        for number, (name, file) in enumerate(zip(names, files, strict=True), 1)
    ]


def read_private(files: list[Path]) -> list[PrivateCost]:
    costs: list[PrivateCost] = []
    for file in files:
        with blamed_on(str(file)):
            if file.name == MEASURED:
                costs += measured_costs(read_costs(file))
            else:
                costs += estimated_costs(read_record(file, Estimates))
    return costs


def masks_of(folder: Path) -> dict[str, np.ndarray] | None:
    file = folder / MASKS
    return {name: mask.astype(bool) for name, mask in load_arrays(file).items()} if file.is_file() else None


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


@contextmanager
def blamed_on(where: str) -> Iterator[None]:
    """Raise UserError where a file keeps to its schema in name only."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        kind = type(error).__name__
        raise UserError(f"{where}: its JSON lacks what it should hold ({kind}: {error})") from error


def subtitle(runs: list[Run], costs: list[PrivateCost]) -> str:
    """What the page is of, in a few words."""
    datasets = ", ".join(sorted({run.results.dataset for run in runs}))
    parts = [f"{len(runs)} run{'s' * (len(runs) != 1)} on {datasets}"] if runs else []
    networks = len({cost.sha256 or cost.file for cost in costs})
    parts += [f"private inference of {networks} network{'s' * (networks != 1)}"] if costs else []
    return "; ".join(parts)


def main(args: argparse.Namespace) -> None:
    files, private = found_files(args.runs)
    runs, costs = read_runs(files), read_private(private)
    sections = []
    for run in runs:
        with blamed_on(str(run.folder)):
            sections.append(run_section(run))
    with blamed_on(", ".join(str(run.folder) for run in runs)):
        compared = comparison(runs, costs)
    content = page(title=args.title, subtitle=subtitle(runs, costs), comparison=compared, runs=sections)
    replace_file(args.out, lambda file: file.write(content))
    print(f"written to {args.out}: {len(content) / 1e6:.1f} MB; open it in a browser")


if __name__ == "__main__":
    run_script(main, parse_args)
