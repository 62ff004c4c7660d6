"""Put a trained network into zoo/, with what is known of it, and make docs/zoo.md anew.

    python add_to_zoo.py save/models/RUN/resnet20_best_TA0.0.pth --name NAME --training save/models/RUN \\
        --evaluation save/validation/RUN save/validation/AUTOATTACK_RUN --private save/private_inference/RUN
    python add_to_zoo.py save/student_model/stage2/RUN/Customresnet20_stage2_best_TA0.0.pth --name NAME \\
        --teacher TEACHER --training save/models/RUN save/student_model/stage1/RUN save/student_model/stage2/RUN

Takes the weights alone, and of paths no more than the file's name. Every figure comes from the files that are named,
which must be of these very weights; what was not measured is null. Then zoo:NAME loads it. Measure more of it later:

    python add_to_zoo.py zoo:NAME --name NAME --replace --evaluation save/validation/RUN
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import hashlib
import re
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from formats.zoo import PrivateCost, ZooEntry
from helper import command_line
from helper.checkpoint import packed
from helper.errors import UserError
from helper.files import file_digest, replace_file
from helper.zoo import PREFIX, entry_of, read_index, zoo_folder
from masks.counting import relu_totals
from models.restore import load_model
from private_inference.costs.tables import read_costs
from reporting.results import read_results
from reporting.zoo_entry import (
    check_evaluation,
    check_trainings,
    completed,
    kind_of_weights,
    measured_accuracy,
    training_record,
    weights_alone,
    without_folders,
)
from reporting.zoo_page import page_path, write_index

LARGEST_FILE, LARGEST_ZOO = 2 * 2**20, 20 * 10**6  # bytes: everybody who clones the repository fetches them


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    command_line.add_checkpoint(parser, "of any stage")
    parser.add_argument("--name", required=True, type=network_name, help=f"{PREFIX}NAME loads it")
    parser.add_argument(
        "--evaluation",
        nargs="+",
        default=[],
        metavar="RUN",
        help="folders, or results.json, of validate_common_corruptions.py; of a metric that several have, that on the "
        "most images is taken",
    )
    parser.add_argument("--private", metavar="RUN", help="folder, or JSON, of measure_private_inference.py")
    parser.add_argument(
        "--training",
        nargs="+",
        default=[],
        metavar="RUN",
        help="folders, or results.json, of the training runs that led to it, the checkpoint's own last: of a student "
        "the teacher's, which --teacher knows already, stage 1 and stage 2",
    )
    parser.add_argument("--teacher", type=network_name, metavar="NAME", help="its teacher's name in the zoo")
    parser.add_argument(
        "--kind", choices=("raw", "averaged"), help="of weights with --ema, where the checkpoint does not say"
    )
    parser.add_argument("--commit", help="of the code that trained it (default: that of this checkout)")
    parser.add_argument(
        "--command", type=public_text, metavar="TEXT", help="how it was trained (default: from --training)"
    )
    parser.add_argument("--hours", type=command_line.number, metavar="H", help="of training (default: from --training)")
    parser.add_argument(
        "--note", type=public_text, metavar="TEXT", help="what a reader should know, such as 'short run: 8 epochs'"
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="in the place of the network that has this name; where that has the same weights, what was known of it "
        "and is not given anew stays",
    )
    return parser.parse_args(argv)


def network_name(text: str) -> str:
    name = text.removeprefix(PREFIX)
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise argparse.ArgumentTypeError(f"'{text}' is no name; letters, digits, '_', '-' and '.' make one")
    return name


def public_text(text: str) -> str:
    """One line, without this machine's folders."""
    return without_folders(" ".join(text.split()))


def private_cost(run: str, digests: Collection[str]) -> PrivateCost:
    """Protocol, bytes both ways and rounds of one image after the first, of the weights with one of these digests."""
    report = read_costs(run)
    record = next((record for record in report.measured if record.sha256 in digests), None)
    if record is None:
        raise UserError(f"--private {run} has no measurement of these weights")
    warm = record.costs.total.get("warm")
    if warm is None:
        raise UserError(f"--private {run} is of one image alone; measure two, for what the first one costs is its own")
    sent = round(warm.upload + warm.download)
    return PrivateCost(protocol=report.engine.protocol, bytes=sent, rounds=round(warm.rounds))


def git_commit() -> str | None:
    """That of this checkout; None where it is none."""
    words = ["git", "rev-parse", "HEAD"]
    try:
        ended = subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return ended.stdout.strip() if ended.returncode == 0 else None


def check_sizes(size: int, file: Path) -> None:
    """Raise UserError where `file`, of so many bytes, is too large for the zoo."""
    others = sum(other.stat().st_size for other in file.parent.glob("*.pth") if other != file)
    if size > LARGEST_FILE or size + others > LARGEST_ZOO:
        raise UserError(
            f"{file.name} would have {size:,} bytes beside {others:,} of others; the zoo takes {LARGEST_FILE:,} a file "
            f"and {LARGEST_ZOO:,} in all"
        )


@dataclass(frozen=True)
class Given:
    """What the options of these names say of a network, or where it can be read; None where they say nothing."""

    evaluation: Sequence[str]
    training: Sequence[str]
    private: str | None
    teacher: str | None
    kind: str | None
    commit: str | None
    command: str | None
    hours: float | None
    note: str | None


def make_entry(path: Path, given: Given) -> tuple[dict, memoryview]:
    """(fields of the entry but its name and its file's, content of the file) of the checkpoint at `path`"""
    model, checkpoint = load_model(path)
    weights = weights_alone(checkpoint, path)
    content = packed(weights)
    # What was measured of the file, or of the one that the zoo made of it before.
    digest = hashlib.sha256(content).hexdigest()
    digests = {file_digest(path), digest}
    evaluations = [read_results(run) for run in given.evaluation]
    for run, results in zip(given.evaluation, evaluations, strict=True):
        check_evaluation(results, run, digests)
    trainings = [read_results(run) for run in given.training]
    if trainings:
        check_trainings(trainings, checkpoint)
    teacher = entry_of(given.teacher) if given.teacher else None
    trained = training_record(trainings, teacher)
    kept, total = relu_totals(model)
    entry = {
        "sha256": digest,
        "model": checkpoint.model.name,
        "dataset": checkpoint.dataset,
        "stage": checkpoint.stage,
        "kind": kind_of_weights(checkpoint, given.kind),
        "relus": kept,
        "total": total,
        "branches": model.spec.branches,
        "interpolation": weights.interpolation,
        **measured_accuracy(evaluations),
        "private": given.private and private_cost(given.private, digests),
        "teacher": teacher and teacher.name,
        "commit": given.commit,
        "command": given.command or trained["command"],
        "epochs": trained["epochs"],
        "hours": trained["hours"] if given.hours is None else given.hours,
        "seed": checkpoint.args.get("seed"),
        "select_on": checkpoint.args.get("select_on"),
        "note": given.note,
    }
    return entry, content


def main(args: argparse.Namespace) -> None:
    entries = read_index()
    taken = [entry.name for entry in entries]
    if args.name in taken and not args.replace:
        raise UserError(f"--name {args.name}: the zoo has such a network; --replace puts this one in its place")
    found, content = make_entry(
        args.checkpoint, Given(**{field.name: getattr(args, field.name) for field in fields(Given)})
    )
    for former in entries:
        if (former.name, former.sha256) == (args.name, found["sha256"]):
            found = completed(found, former)
    found["commit"] = found["commit"] or git_commit()
    file = zoo_folder() / f"{args.name}.pth"
    check_sizes(len(content), file)

    # The file before the index, which speaks of it.
    replace_file(file, lambda opened: opened.write(content))
    entry = ZooEntry(name=args.name, file=file.name, **found)
    if args.name in taken:
        entries[taken.index(args.name)] = entry
    else:
        entries.append(entry)
    write_index(entries)
    print(f"{PREFIX}{args.name}: {entry.relus:,} of {entry.total:,} ReLUs, {len(content):,} bytes, in {file}")
    print(f"the table is in {page_path()}")


if __name__ == "__main__":
    run_script(main, parse_args)
