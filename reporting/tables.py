"""Results as tables: for people, in a terminal, and as results.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from statistics import mean
from typing import TypeVar

from dataset.corruptions import CORRUPTIONS
from formats.measured import Accuracy, Kept, Origin
from formats.results import Results
from helper.text import percent, table

# Clean accuracy, natural-perturbation accuracy (the mean over 15 corruptions x 5 severities), accuracy under attack.
METRICS = ("CA", "NPA", "AdvA")
CORRUPTION_ERRORS = {"mCE": "mCE", "relative_mCE": "relative mCE"}

Values = TypeVar("Values")  # of a corruption


def results_table(results: Results) -> str:
    """Accuracy of every branch of every checkpoint in a results file, and what to make of the branches."""
    entries = [(entry.file, entry.accuracy) for entry in results.checkpoints or ()]
    entries = entries or [(results.checkpoint or "-", results.accuracy)]
    titles = results.attack_titles
    columns = accuracy_columns(entries[0][1], titles)
    rows = [["checkpoint", "branch", *columns]]
    for file, accuracy in entries:
        for branch in accuracy.CA:
            found = accuracy_columns(accuracy, titles)
            values = (found.get(column, {}).get(branch) for column in columns)
            rows.append([file.rpartition("/")[2], branch, *map(percent, values)])
    relus = results.relus
    lines = [
        f"{results.model} on {results.dataset}: {relus.kept:,} of {relus.total:,} ReLUs ({relus.share:.1f} %), "
        f"{results.accuracy.images:,} {images_of(results)} images",
        table(rows),
        meaning(results),
    ]
    if results.branches > 1 and results.oracle.AdvA is not None:
        single = results.single_branch
        lines.append(
            f"With an oracle that picks the branch: {in_words(results.oracle.as_json())}. "
            f"Branch {single.branch} alone{_rule(results)}: {in_words(single.as_json())}."
        )
    lines += [weights_table(results.weights)] if results.weights else []
    lines += [f"Warning: {sentence}." for sentence in results.warnings]
    return "\n".join(lines)


def images_of(results: Results) -> str:
    """'test' or 'held-out'."""
    return "held-out" if results.measured_on == "heldout" else "test"


def meaning(results: Results) -> str:
    """What the columns of `results_table` are, and the TA and ATA in the names of selected checkpoints."""
    words = ["CA: clean accuracy"]
    words += ["NPA: the mean over 15 corruptions at 5 severities"] if results.accuracy.NPA else []
    if results.attack:
        words.append("AdvA, or an attack's name: accuracy under attacks made through the branch that predicts")
    if results.checkpoints and results.attack:
        words.append("TA, ATA: the epoch of the best clean accuracy, and under attack, through the branch named there")
    return f"{'; '.join(words)}."


def weights_table(weights: Kept) -> str:
    """How many of the weights of convolutions and linear layers are not 0, layer by layer."""
    rows = [["layer", "weights", "of", "%"]]
    every = [(layer.layer, layer.kept, layer.total) for layer in weights.layers]
    for name, kept, total in (*every, ("all", weights.kept, weights.total)):
        rows.append([name, f"{kept:,}", f"{total:,}", f"{100 * kept / total:.2f}"])
    return f"Sparse weights:\n{table(rows)}"


def _rule(results: Results) -> str:
    """How the single branch was chosen; files from before there was one rule do not say."""
    return f" ({results.single_branch_rule})" if results.single_branch_rule else ""


def accuracy_columns(accuracy: Accuracy, attack_titles: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """{title: {branch: value}} of everything that one number a branch tells."""
    columns = {"CA %": accuracy.CA}
    if accuracy.NPA:
        columns["NPA %"] = accuracy.NPA
    attacks = accuracy.attacks or {}
    for name, title in attack_titles.items():
        if name in attacks:
            columns[f"{title} %"] = attacks[name]
    if not attacks and accuracy.AdvA:
        columns["AdvA %"] = accuracy.AdvA
    for name, title in CORRUPTION_ERRORS.items():
        if accuracy.of(name):
            columns[f"{title} %"] = accuracy.of(name)
    return columns


def corruption_table(results: Results) -> str:
    """Accuracy for every corruption and severity through every branch; nothing where none was measured."""
    accuracy, images = results.accuracy, results.corrupted_images
    if not accuracy.corruptions:
        return ""
    tables = [f"Corrupted images: {origin_in_words(images) if images else 'unknown'}"]
    for branch, rows in accuracy.corruptions.items():
        head = [f"branch {branch}, severity", *map(str, accuracy.at_severities), "mean"]
        body = [
            [
                corruption_title(name, images),
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


def corruption_title(name: str, images: Origin | None) -> str:
    """'gaussian_noise' -> 'Gaussian noise', 'jpeg_compression' -> 'JPEG compression'; wherever people read it.

    Figures on procedural frost cannot be compared with published ones, so it never stands there as plain frost.
    """
    procedural = name == "frost" and images is not None and images.procedural_frost
    words = name.replace("_", " ").replace("jpeg", "JPEG").replace("gaussian", "Gaussian")
    return f"{words} (procedural)" if procedural else words


def origin_in_words(images: Origin) -> str:
    words: str = images.origin
    if images.seed is not None:
        words += f" with seed {images.seed}"
    if images.frost is not None:
        words += f", frost {'from photographs' if images.frost == 'photographs' else 'procedural'}"
    return f"{words}, in {images.folder}" if images.folder else words


def results_csv(results: Results) -> str:
    """One measured figure a line: metric, attack, corruption, severity, branch, images, value (per cent)."""
    accuracy = results.accuracy
    lines: list[tuple] = []
    for metric in ("CA", "NPA", *CORRUPTION_ERRORS):
        lines += [(metric, "", "", "", branch, value) for branch, value in accuracy.of(metric).items()]
    attacks = accuracy.attacks or {results.attack.name if results.attack else "": accuracy.of("AdvA")}
    for name, values in attacks.items():
        lines += [("AdvA", name, "", "", branch, value) for branch, value in values.items()]
    for branch, rows in (accuracy.corruptions or {}).items():
        for name, row in rows.items():
            for severity, value in zip(accuracy.at_severities, row, strict=True):
                lines.append(("accuracy", "", name, severity, branch, value))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("metric", "attack", "corruption", "severity", "branch", "images", "value"))
    writer.writerows((*line[:5], accuracy.images, line[5]) for line in lines)
    return text.getvalue()


def in_words(accuracy: dict) -> str:
    return ", ".join(f"{metric} {percent(accuracy[metric])}" for metric in METRICS if metric in accuracy)
