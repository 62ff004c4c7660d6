"""Put a trained network into zoo/, with what was measured of it, and write docs/zoo.md anew.

    python add_to_zoo.py CHECKPOINT --name resnet20_teacher --evaluation save/validation/RUN \\
        --private save/private_inference/RUN --training save/models/RUN

Takes the weights alone, and no path of the machine they were trained on. Every figure comes from the files that are
named; what was not measured stays empty.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

from helper import options
from helper.checkpoint import describe_model, load_model, replace_file, save_checkpoint
from helper.errors import UserError
from helper.files import file_digest
from helper.relu_mask import relu_totals
from helper.report import read_results
from helper.run import write_json
from helper.script import run_script
from helper.tables import percent
from helper.zoo import FOLDER, PREFIX, read_index
from private_inference.cost_tables import all_costs, read_costs

PAGE = FOLDER.parent / "docs" / "zoo.md"
LARGEST_FILE, LARGEST_ZOO = 2 * 2**20, 20 * 10**6
METRICS = ("CA", "NPA", "AdvA", "AutoAttack")
COLUMNS = ("name", "ReLUs", "branch", *METRICS, "images", "MB", "rounds", "epochs", "hours", "seed", "note")
# What a later stage, an evaluation or a reader needs of a checkpoint, beside its network.
KEPT = ("dataset", "stage", "teacher", "budget", "tag", "epoch", "trained_branches", "interpolated")
# Options that name a place on a machine, or say how a run was watched and not what it computed.
LOCAL = {"data_root", "save_dir", "run_name", "resume", "device", "num_workers", "no_download", "print_freq"}
LOCAL |= {"save_freq", "local_rank", "path_t", "path_s_load"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.Parser(__doc__)
    parser.add_argument("path", metavar="CHECKPOINT")
    parser.add_argument("--name", required=True, type=options.folder_name, help=f"its name: {PREFIX}NAME loads it")
    parser.add_argument("--evaluation", metavar="RUN", help="folder of validate_common_corruptions.py")
    parser.add_argument("--autoattack", metavar="RUN", help="the same, of an evaluation with AutoAttack")
    parser.add_argument("--private", metavar="RUN", help="folder of measure_private_inference.py")
    parser.add_argument(
        "--training", nargs="+", default=[], metavar="RUN", help="folders of all trainings that led to it, in order"
    )
    parser.add_argument("--commit", help="of the code that trained it (default: that of this checkout)")
    parser.add_argument("--note", help="what a reader should know: 'short run', ...")
    parser.add_argument("--replace", action="store_true", help="in place of the network that has this name")
    return parser.parse_args(argv)


def measured(run: str | None, checkpoint: Path) -> dict | None:
    """results.json of an evaluation. Raises UserError where it measured other weights."""
    if run is None:
        return None
    measurements = Path(run) / "measurements.json"
    if not measurements.is_file() or json.loads(measurements.read_text())["checkpoint"] != file_digest(checkpoint):
        raise UserError(f"{run}: not an evaluation of {checkpoint}")
    return read_results(run)


def accuracies(evaluation: dict | None, autoattack: dict | None) -> tuple[dict, dict]:
    """({branch: {metric: %}}, {metric: images}); a metric that was not measured is None."""
    found: dict[str, dict[str, float]] = {}
    images: dict[str, int] = {}
    for results, metrics in ((evaluation, ("CA", "NPA", "AdvA")), (autoattack, ("AutoAttack",))):
        if results is None:
            continue
        accuracy = {**results["accuracy"], "AutoAttack": results["accuracy"].get("attacks", {}).get("autoattack")}
        for metric in metrics:
            for branch, value in (accuracy.get(metric) or {}).items():
                found.setdefault(branch, {})[metric] = round(value, 2)
                images[metric] = results["accuracy"]["images"]
    return {branch: {metric: row.get(metric) for metric in METRICS} for branch, row in found.items()}, images


def private_costs(run: str | None, checkpoint: Path) -> dict | None:
    if run is None:
        return None
    report = read_costs(run)
    if len(report["measured"]) != 1 or report["measured"][0]["sha256"] != file_digest(checkpoint):
        raise UserError(f"{run}: not a measurement of {checkpoint} alone")
    (costs,), state = all_costs(report)
    cost = costs.total(state)
    return {"protocol": report["args"]["protocol"], "bytes": round(cost.bytes), "rounds": round(cost.rounds)}


def git_commit() -> str | None:
    ended = subprocess.run(["git", "rev-parse", "HEAD"], cwd=FOLDER.parent, capture_output=True, text=True, check=False)
    return ended.stdout.strip() or None


def command_of(results: dict) -> str:
    """The training's command, as far as its options differ from what every machine has its own of."""
    given = {name: value for name, value in results["args"].items() if name not in LOCAL}
    given = {name: ",".join(map(str, value)) if isinstance(value, list) else value for name, value in given.items()}
    words = [f"--{name} {value}" for name, value in given.items() if value not in (None, False, True)]
    flags = [f"--{name}" for name, value in given.items() if value is True and name != "sync_bn"]
    return " ".join(["python", results["script"], *words, *flags])


def zoo_page(entries: list[dict]) -> str:
    """docs/zoo.md"""
    lines = [
        "# Trained networks",
        "",
        "Written by `add_to_zoo.py` from zoo/index.json. `zoo:NAME` stands for a file wherever a script takes a",
        "checkpoint. Accuracies in per cent, of the branch in the column before; AdvA is PGD-20 at 8/255 through that",
        "very branch. Costs of private inference are of one image, both ways.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        f"|{'---|' * len(COLUMNS)}",
    ]
    for entry in entries:
        share = f"{entry['relus']:,} ({100 * entry['relus'] / entry['total']:.0f} %)"
        cost = entry["private"]
        costs = [f"{cost['bytes'] / 1e6:.1f}", str(cost["rounds"])] if cost else ["", ""]
        images = ", ".join(f"{count:,}" for count in sorted(set(entry["images"].values())))
        tail = [images, *costs, *(_cell(entry[key]) for key in ("epochs", "hours", "seed", "note"))]
        for position, (branch, row) in enumerate(entry["accuracy"].items() or [("", {})]):
            cells = [_cell(row.get(metric), percent) for metric in METRICS]
            first = position == 0
            head = [f"`zoo:{entry['name']}`", share] if first else ["", ""]
            lines.append(f"| {' | '.join([*head, branch, *cells, *(tail if first else [''] * 7)])} |")
    return "\n".join(lines) + "\n"


def _cell(value: object, write=str) -> str:
    return "" if value is None else write(value)


def main(args: argparse.Namespace) -> None:
    # What is known of the network
    path = Path(args.path)
    model, checkpoint = load_model(path)
    evaluation, autoattack = measured(args.evaluation, path), measured(args.autoattack, path)
    accuracy, images = accuracies(evaluation, autoattack)
    trainings = [read_results(run) for run in args.training]
    kept, total = relu_totals(model)
    file = FOLDER / f"{args.name}.pth"
    entries = read_index()
    if any(entry["name"] == args.name for entry in entries) and not args.replace:
        raise UserError(f"--name {args.name}: the zoo has one of this name; --replace puts this one in its place")

    # Its file
    content = {key: checkpoint[key] for key in KEPT if key in checkpoint}
    content["args"] = {name: value for name, value in checkpoint.get("args", {}).items() if name not in LOCAL}
    content |= describe_model(checkpoint["model"]["name"], model)
    others = sum(other.stat().st_size for other in FOLDER.glob("*.pth") if other != file)
    save_checkpoint(file, content)
    size = file.stat().st_size
    if size > LARGEST_FILE or size + others > LARGEST_ZOO:
        file.unlink()
        raise UserError(
            f"{file.name} has {size:,} bytes; the zoo takes {LARGEST_FILE:,} a file, {LARGEST_ZOO:,} in all"
        )

    # Its entry
    entry = {
        "name": args.name,
        "file": file.name,
        "sha256": file_digest(file),
        "model": checkpoint["model"]["name"],
        "dataset": checkpoint.get("dataset"),
        "stage": checkpoint.get("stage"),
        "relus": kept,
        "total": total,
        "branches": model.spec.branches,
        "accuracy": accuracy,
        "images": images,
        "attack": evaluation and evaluation["attack"],
        "private": private_costs(args.private, path),
        "commit": args.commit or git_commit(),
        "command": [command_of(results) for results in trainings] or None,
        "epochs": sum(results["epochs"] for results in trainings) or None,
        "hours": round(sum(results["wall_time_s"] for results in trainings) / 3600, 2) or None,
        "seed": trainings[-1]["seed"] if trainings else checkpoint.get("args", {}).get("seed"),
        "note": args.note,
    }
    entries = [entry if other["name"] == args.name else other for other in entries]
    write_index([*entries, *([] if entry in entries else [entry])])
    print(f"{PREFIX}{args.name} is in {FOLDER}: {size:,} bytes, {kept:,} of {total:,} ReLUs")


def write_index(entries: list[dict]) -> None:
    write_json(FOLDER / "index.json", entries)
    replace_file(PAGE, lambda file: file.write(zoo_page(entries).encode()))


if __name__ == "__main__":
    run_script(main, parse_args)
