"""Results as tables: for people, in a terminal, and as results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from statistics import mean
from typing import TypeVar

from dataset.corruptions import CORRUPTIONS
from helper.text import percent, table

# Clean accuracy, natural-perturbation accuracy (the mean over 15 corruptions x 5 severities), accuracy under attack.
METRICS = ("CA", "NPA", "AdvA")
CORRUPTION_ERRORS = {"mCE": "mCE", "relative_mCE": "relative mCE"}

Values = TypeVar("Values")  # of a corruption


def results_table(results: dict) -> str:
    """Accuracy of every branch of every checkpoint in a results file, and what to make of the branches."""
    entries = results.get("checkpoints") or [{"file": results["checkpoint"], "accuracy": results["accuracy"]}]
    titles = results["attack_titles"]
    columns = accuracy_columns(entries[0]["accuracy"], titles)
    rows = [["checkpoint", "branch", *columns]]
    for entry in entries:
        for branch in entry["accuracy"]["CA"]:
            name = entry["file"].rpartition("/")[2]
            values = accuracy_columns(entry["accuracy"], titles).values()
            rows.append([name, branch, *(percent(value.get(branch)) for value in values)])
    relus = results["relus"]
    share = 100 * relus["kept"] / relus["total"]
    lines = [
        f"{results['model']} on {results['dataset']}: {relus['kept']:,} of {relus['total']:,} ReLUs ({share:.1f} %), "
        f"{results['accuracy']['images']:,} {images_of(results)} images",
        table(rows),
        meaning(results),
    ]
    if results["branches"] > 1 and "AdvA" in results["oracle"]:
        single = results["single_branch"]
        lines.append(
            f"With an oracle that picks the branch: {in_words(results['oracle'])}. "
            f"Branch {single['branch']} alone{_rule(results)}: {in_words(single)}."
        )
    lines += [weights_table(results["weights"])] if results.get("weights") else []
    lines += [f"Warning: {sentence}." for sentence in results["warnings"]]
    return "\n".join(lines)


def images_of(results: dict) -> str:
    """'test' or 'held-out'."""
    return "held-out" if results.get("measured_on") == "heldout" else "test"


def meaning(results: dict) -> str:
    """What the columns of `results_table` are, and the TA and ATA in the names of selected checkpoints."""
    accuracy = results["accuracy"]
    words = ["CA: clean accuracy"]
    words += ["NPA: the mean over 15 corruptions at 5 severities"] if accuracy.get("NPA") else []
    if results["attack"]:
        words.append("AdvA, or an attack's name: accuracy under attacks made through the branch that predicts")
    if results.get("checkpoints") and results["attack"]:
        words.append("TA, ATA: the epoch of the best clean accuracy, and under attack, through the branch named there")
    return f"{'; '.join(words)}."


def weights_table(weights: dict) -> str:
    """How many of the weights of convolutions and linear layers are not 0, layer by layer."""
    rows = [["layer", "weights", "of", "%"]]
    for layer in (*weights["layers"], {"layer": "all", **weights}):
        kept, total = layer["kept"], layer["total"]
        rows.append([layer["layer"], f"{kept:,}", f"{total:,}", f"{100 * kept / total:.2f}"])
    return f"Sparse weights:\n{table(rows)}"


def _rule(results: dict) -> str:
    """How the single branch was chosen; files from before there was one rule do not say."""
    return f" ({results['single_branch_rule']})" if "single_branch_rule" in results else ""


def accuracy_columns(accuracy: dict, attack_titles: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """{title: {branch: value}} of everything that one number a branch tells."""
    columns = {"CA %": accuracy["CA"]}
    if accuracy.get("NPA"):
        columns["NPA %"] = accuracy["NPA"]
    attacks = accuracy.get("attacks") or {}
    for name, title in attack_titles.items():
        if name in attacks:
            columns[f"{title} %"] = attacks[name]
    if not attacks and accuracy.get("AdvA"):
        columns["AdvA %"] = accuracy["AdvA"]
    for name, title in CORRUPTION_ERRORS.items():
        if accuracy.get(name):
            columns[f"{title} %"] = accuracy[name]
    return columns


def corruption_table(results: dict) -> str:
    """Accuracy for every corruption and severity through every branch; nothing where none was measured."""
    accuracy = results["accuracy"]
    if "corruptions" not in accuracy:
        return ""
    tables = [f"Corrupted images: {origin_in_words(results['corrupted_images'])}"]
    for branch, rows in accuracy["corruptions"].items():
        head = [f"branch {branch}", *(f"severity {severity}" for severity in accuracy["severities"]), "mean"]
        body = [
            [
                corruption_title(name, results["corrupted_images"]),
                *(percent(value) for value in row),
                percent(mean(row)),
            ]
            for name, row in rows.items()
        ]
        means = [mean(column) for column in zip(*counted(rows).values(), strict=True)]
        tables.append(table([head, *body, ["mean", *(percent(value) for value in means), percent(mean(means))]]))
    return "\n\n".join(tables)


def counted(rows: Mapping[str, Values]) -> dict[str, Values]:
    """Those corruptions that a mean is taken over: the benchmark's 15; extra ones only where there are no others."""
    return {name: row for name, row in rows.items() if name in CORRUPTIONS} or dict(rows)


def corruption_title(name: str, origin: dict) -> str:
    """'gaussian_noise' -> 'Gaussian noise', 'jpeg_compression' -> 'JPEG compression'; wherever people read it.

    Figures on procedural frost cannot be compared with published ones, so it never stands there as plain frost.
    """
    procedural = name == "frost" and origin.get("frost") == "procedural"
    words = name.replace("_", " ").replace("jpeg", "JPEG").replace("gaussian", "Gaussian")
    return f"{words} (procedural)" if procedural else words


def origin_in_words(origin: dict) -> str:
    words = origin["origin"]
    if origin["seed"] is not None:
        words += f" with seed {origin['seed']}"
    if origin["frost"] is not None:
        words += f", frost {'from photographs' if origin['frost'] == 'photographs' else 'procedural'}"
    return f"{words}, in {origin['folder']}" if origin["folder"] else words


def results_csv(results: dict) -> str:
    """One measured figure a line: metric, attack, corruption, severity, branch, images, value (per cent)."""
    accuracy, lines = results["accuracy"], []
    for metric in ("CA", "NPA", *CORRUPTION_ERRORS):
        lines += [(metric, "", "", "", branch, value) for branch, value in accuracy.get(metric, {}).items()]
    attack = results["attack"]["name"] if results["attack"] else ""
    attacks = accuracy.get("attacks") or {attack: accuracy.get("AdvA", {})}
    for name, values in attacks.items():
        lines += [("AdvA", name, "", "", branch, value) for branch, value in values.items()]
    for branch, rows in accuracy.get("corruptions", {}).items():
        for name, row in rows.items():
            for severity, value in zip(accuracy["severities"], row, strict=True):
                lines.append(("accuracy", "", name, severity, branch, value))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("metric", "attack", "corruption", "severity", "branch", "images", "value"))
    writer.writerows((*line[:5], accuracy["images"], line[5]) for line in lines)
    return text.getvalue()


def in_words(accuracy: dict) -> str:
    return ", ".join(f"{metric} {percent(accuracy[metric])}" for metric in METRICS if metric in accuracy)
