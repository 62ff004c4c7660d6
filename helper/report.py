"""results.json, one schema for every script, and the tables that people read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from statistics import mean

from dataset.corruption_arrays import FOLDERS, SEVERITIES
from helper.attack import AttackSettings
from helper.distributed import Processes
from helper.fit import Progress, trained_branches
from helper.relu_mask import relu_counts
from helper.run import plain_arguments, versions
from helper.step import Task
from models.layers import Network

SCHEMA = "rlnet-results-1"
# Clean accuracy, natural-perturbation accuracy (the mean over 15 corruptions x 5 severities), accuracy under attack.
METRICS = ("CA", "NPA", "AdvA")


def describe_relus(model: Network) -> dict:
    counts = relu_counts(model)
    return {
        "kept": sum(count.kept for count in counts),
        "total": sum(count.total for count in counts),
        "layers": [asdict(count) for count in counts],
    }


def base_results(
    script: str,
    args: argparse.Namespace,
    processes: Processes,
    model: Network,
    *,
    model_name: str,
    dataset: str,
    branches: Sequence[int],
    attack: AttackSettings | None,
    accuracy: dict,
    seconds: float,
) -> dict:
    """What every script reports. `accuracy` is {'images', 'CA': {branch: %}, 'AdvA': {branch: %}, ...}.

    `oracle` is the published protocol, in which somebody who knows which images are attacked picks the branch;
    `single_branch` gives the same weights without that knowledge: the branch whose CA and AdvA have the best mean.
    """
    return {
        "schema": SCHEMA,
        "script": script,
        "model": model_name,
        "dataset": dataset,
        "image_size": model.spec.image_size,
        "branches": model.spec.branches,
        "trained_branches": list(branches),
        "attack": asdict(attack) if attack else None,
        "accuracy": accuracy,
        "oracle": {metric: accuracy[metric][str(branch)] for metric, branch in oracle_branches(accuracy).items()},
        "single_branch": best_single_branch(accuracy),
        "relus": describe_relus(model),
        "seed": args.seed,
        "processes": processes.count,
        "device": processes.device.type,
        "versions": versions(),
        "wall_time_s": round(seconds, 1),
        "args": plain_arguments(args),
    }


def oracle_branches(accuracy: dict) -> dict[str, int]:
    """The branch that the published protocol predicts with: the clean one, and the adversarial one under attack."""
    branches = [int(branch) for branch in accuracy["CA"]]
    chosen = {"CA": min(branches), "NPA": min(branches), "AdvA": max(branches)}
    return {metric: branch for metric, branch in chosen.items() if accuracy.get(metric)}


def best_single_branch(accuracy: dict) -> dict:
    def value(branch: str) -> float:
        return accuracy["CA"][branch] + accuracy["AdvA"].get(branch, 0.0)

    best = max(accuracy["CA"], key=value)
    return {"branch": int(best), **{metric: accuracy[metric][best] for metric in METRICS if accuracy.get(metric)}}


def training_results(
    script: str,
    args: argparse.Namespace,
    task: Task,
    progress: Progress,
    checkpoints: Sequence[dict],
    *,
    model_name: str,
    attack: AttackSettings | None,
) -> dict:
    """The results of a training run; its headline is the first selected checkpoint, the one that users pass on."""
    results = base_results(
        script,
        args,
        task.processes,
        task.student,
        model_name=model_name,
        dataset=args.dataset,
        branches=trained_branches(task),
        attack=attack,
        accuracy=checkpoints[0]["accuracy"],
        seconds=progress.seconds,
    )
    results |= {"checkpoints": list(checkpoints), "select_on": args.select_on, "epochs": progress.epoch}
    if args.select_on == "test":
        results["warning"] = "the best epoch was chosen on the test set: these accuracies are flattering"
    return results


def results_table(results: dict) -> str:
    """CA and AdvA of every branch of every checkpoint in a results file."""
    rows = [["checkpoint", "branch", *(f"{metric} %" for metric in METRICS)]]
    for entry in results.get("checkpoints") or [{"file": results["checkpoint"], "accuracy": results["accuracy"]}]:
        accuracy = entry["accuracy"]
        for branch in accuracy["CA"]:
            name = entry["file"].rpartition("/")[2]
            rows.append([name, branch, *(percent(accuracy.get(metric, {}).get(branch)) for metric in METRICS)])
    relus = results["relus"]
    share = 100 * relus["kept"] / relus["total"]
    lines = [
        f"{results['model']} on {results['dataset']}: {relus['kept']:,} of {relus['total']:,} ReLUs ({share:.1f} %), "
        f"{results['accuracy']['images']:,} images",
        table(rows),
    ]
    if results["branches"] > 1 and "AdvA" in results["oracle"]:
        single = results["single_branch"]
        lines.append(
            f"With an oracle that picks the branch: {in_words(results['oracle'])}. "
            f"Branch {single['branch']} alone: {in_words(single)}."
        )
    if "warning" in results:
        lines.append(f"Warning: {results['warning']}.")
    return "\n".join(lines)


def corruption_table(results: dict) -> str:
    """Accuracy for every corruption and severity through every branch; one line of words where none was measured."""
    accuracy = results["accuracy"]
    if "corruptions" not in accuracy:
        folder = FOLDERS.get(results["dataset"])
        return f"NPA: no {folder} under {results['args']['data_root']}" if folder else "NPA: no corrupted test set"
    tables = []
    for branch, rows in accuracy["corruptions"].items():
        head = [f"branch {branch}", *(f"severity {severity}" for severity in SEVERITIES), "mean"]
        body = [[name, *(f"{value:.2f}" for value in row), f"{mean(row):.2f}"] for name, row in rows.items()]
        tables.append(table([head, *body]))
    return "\n\n".join(tables)


def in_words(accuracy: dict) -> str:
    return ", ".join(f"{metric} {percent(accuracy[metric])}" for metric in METRICS if metric in accuracy)


def percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be, the first to the left, the others to the right; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        return "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()

    return "\n".join([line(rows[0]), "  ".join("-" * width for width in widths), *(line(row) for row in rows[1:])])
