"""What private inference cost, for people: private_inference.json as tables, as sentences, and as CSV.

A checkpoint's figures are those of its later images (warm), where more than one was run: only those repeat. MB are
1e6 bytes, both directions together.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from formats.private_costs import AccuracySource, EstimateRecord, MeasuredCosts, PrivateCosts
from helper.text import percent, table
from private_inference.costs.link import speed_in_words
from private_inference.engine.cost import PARTS, Cost, Costs, StepCost
from reporting.results import read_report
from reporting.tables import METRICS

FILE_NAME = "private_inference.json"
PART_TITLES = {
    "linear": "linear layers",
    "relu": "ReLUs",
    "rest": "rest (pooling, logits)",
    "preparing": "preparing (correlations)",
}
STATE_TITLES = {"cold": "first image (cold)", "warm": "later images (warm)"}
ACCURACY_SOURCES: dict[AccuracySource, str] = {
    "validation": "validation",
    "training": "the training run's own evaluation (its held-out images)",
    "training_test": "the training run's own evaluation (test images)",
}
CSV_COLUMNS = (
    *("file", "model", "relus_kept", "protocol", "layer", "kind", "part", "comparisons", "state"),
    *("upload_bytes", "download_bytes", "rounds", "seconds"),
)

Read = Callable[[MeasuredCosts, Costs], float | None]  # what a column has of a checkpoint
Link = tuple[str, float, float]  # name, bits per second, seconds


def read_costs(path: str | Path) -> PrivateCosts:
    """A private_inference.json, or that of a folder. Raises UserError for one that is missing, damaged or another."""
    return read_report(path, FILE_NAME, PrivateCosts)


def all_costs(results: PrivateCosts) -> tuple[list[Costs], str]:
    """The costs of every checkpoint, and the state to compare them in: 'warm' if all have it, else 'cold'."""
    costs = [Costs.from_record(measured.costs) for measured in results.measured]
    return costs, "warm" if all("warm" in cost.states for cost in costs) else "cold"


def is_local(step: StepCost) -> bool:
    """Whether each party does this step alone: nothing is sent, not for the first image either."""
    return not any(cost.bytes or cost.rounds for cost in (step.cold, step.at("warm")))


def layer_table(measured: MeasuredCosts) -> str:
    """One checkpoint, layer by layer and per image, with sums for the parts of the network and for all of it."""
    costs = Costs.from_record(measured.costs)
    state = costs.states[-1]
    rows = [["layer", "kind", "values compared", "bytes up", "bytes down", "rounds", "seconds"]]
    blank = [""] * len(rows[0])

    def add(layer: str, kind: str, compared: int, cost: Cost) -> None:
        sent = [whole(value) for value in (cost.upload, cost.download, cost.rounds)]
        rows.append([layer, kind, f"{compared:,}" if compared else "", *sent, f"{cost.seconds:.3f}"])

    def compared_by(part: str | None = None) -> int:
        return sum(step.comparisons for step in costs.steps if part in (None, step.part))

    for step in costs.steps:
        if not is_local(step) and step.kind != "set_up":
            add(step.layer, in_words(step.kind), step.comparisons, step.at(state))
    if local := [step for step in costs.steps if is_local(step)]:
        kinds = ", ".join(dict.fromkeys(in_words(step.kind) for step in local))
        spent = Cost(seconds=sum(step.at(state).seconds for step in local))
        add(f"{len(local)} local step{'s' * (len(local) > 1)} ({kinds})", "", 0, spent)
    rows.append(blank)
    for part in PARTS:
        add(PART_TITLES[part], "", compared_by(part), costs.part(part, state))
    rows.append(blank)
    for each in costs.states:
        add(f"total, {STATE_TITLES[each]}", "", compared_by(), costs.total(each))
    if costs.set_up:
        add("of which set up once, for all images", "", 0, costs.set_up)
    relus = measured.relus
    share = 100 * relus.kept / relus.total
    head = f"{measured.label}: {relus.kept:,} of {relus.total:,} ReLUs ({share:.1f} %), {measured.file}"
    some = "image" if measured.batch == 1 else f"batch of {measured.batch}"
    unit = f"the mean of all but the first {some}" if state == "warm" else f"the only {some} that was run"
    return f"{head}\nPer image, up from the client and down to it; layers and parts: {unit}.\n{table(rows)}"


def comparison_table(results: PrivateCosts) -> str:
    """A row a checkpoint, and below it what the columns mean; columns that nothing can fill are left out."""
    every, (costs, state) = results.measured, all_costs(results)
    columns: list[tuple[str, list[str | None]]] = [("checkpoint", [measured.label for measured in every])]

    def add(head: str, read: Read, write: Callable[[float], str]) -> None:
        values = [read(measured, cost) for measured, cost in zip(every, costs, strict=True)]
        columns.append((head, [None if value is None else write(value) for value in values]))

    def seconds(which: str) -> Read:
        return lambda _, cost: cost.total(which).seconds if which in cost.states else None

    def bytes_of(part: str) -> Read:
        return lambda _, cost: cost.part(part, state).bytes

    def estimated(network: Link) -> Read:
        return lambda measured, _: estimate(measured, network, state)

    def accuracy(metric: str) -> Read:
        return lambda measured, _: measured.accuracy_of(metric)

    add("ReLUs", lambda measured, _: measured.relus.kept, whole)
    add("comparing", lambda _, cost: sum(1 for step in cost.steps if step.comparisons), whole)
    for part, title in (("relu", "ReLU MB"), ("linear", "linear MB")):
        add(title, bytes_of(part), megabytes)
    add("total MB", lambda _, cost: cost.total(state).bytes, megabytes)
    add("rounds", lambda _, cost: cost.total(state).rounds, whole)
    if any(cost.set_up for cost in costs):
        add("set-up MB", lambda _, cost: cost.set_up.bytes if cost.set_up else None, megabytes)
        add("set-up s", lambda _, cost: cost.set_up.seconds if cost.set_up else None, percent)
    add("cold s", seconds("cold"), percent)
    add("warm s", seconds("warm"), percent)
    networks = dict.fromkeys(network_of(found) for measured in every for found in measured.estimates)
    for network in networks:
        add(f"est. {network[0]} s", estimated(network), percent)
    for metric in METRICS:
        add(f"{metric} %", accuracy(metric), percent)
    agreed = [measured.agreement for measured in every]
    columns.append(("same class", [f"{found.same_class}/{found.images}" if found else None for found in agreed]))
    columns.append(("logit error", [f"{found.largest_logit_error:.1e}" if found else None for found in agreed]))

    columns = [(head, cells) for head, cells in columns if any(cell is not None for cell in cells)]
    heads, cells = zip(*columns, strict=True)
    rows = [["-" if cell is None else cell for cell in row] for row in zip(*cells, strict=True)]
    notes = [
        f"Per image; MB = 1e6 bytes, both directions, and rounds: {STATE_TITLES[state]}.",
        "comparing: layers that compare at least one value in secret (ReLU, max pooling).",
    ]
    if networks:
        words = "; ".join(f"{name} is {speed_in_words(*speed)}" for name, *speed in networks)
        notes.append(f"est. ... s: ESTIMATED seconds of the {STATE_TITLES[state]}, not measured; {words}.")
    notes += accuracy_notes(every)
    if any(agreed):
        notes.append("same class, logit error (the largest): against the same network in plain PyTorch.")
    return "\n".join([table([heads, *rows]), *notes])


def network_of(found: EstimateRecord) -> Link:
    speed = found.bandwidth, found.rtt
    return found.name or speed_in_words(*speed), *speed


def estimate(measured: MeasuredCosts, network: Link, state: str) -> float | None:
    """The estimated seconds for an image over `network`; None where nobody asked for it."""
    found = next((found for found in measured.estimates if network_of(found) == network), None)
    return found.at(state) if found else None


def accuracy_notes(every: Sequence[MeasuredCosts]) -> list[str]:
    """Where the accuracies come from: one line for all, or one a source."""
    sources: dict[str, list[str]] = {}
    for measured in every:
        if found := measured.accuracy:
            words = f"{ACCURACY_SOURCES[found.source]} on {found.images:,} images"
            if found.AdvA is not None and found.attacked_images:
                words += f" (AdvA on {found.attacked_images:,})"
            words += f", branch {measured.branch}"
            sources.setdefault(words, []).append(measured.label)
    shown = [metric for metric in METRICS if any(row.accuracy_of(metric) is not None for row in every)]
    if not shown:
        return []
    if len(sources) == 1:
        return [f"{', '.join(shown)}: {words}, not through the engine." for words in sources]
    return [
        f"{', '.join(shown)} of {'; '.join(labels)}: {words}, not through the engine."
        for words, labels in sources.items()
    ]


def costs_csv(results: PrivateCosts) -> str:
    """A line a checkpoint, step and state, per image; the sums over a state's lines are its totals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for measured, costs in zip(results.measured, all_costs(results)[0], strict=True):
        named = measured.file, measured.model, measured.relus.kept, results.engine.protocol
        for step in costs.steps:
            about = step.layer, step.kind, step.part, step.comparisons
            for state in costs.states:
                writer.writerow((*named, *about, state, *map(plain, step.at(state).values())))
    return text.getvalue()


def in_words(kind: str) -> str:
    return kind.replace("_", " ").replace("relu", "ReLU")


def whole(value: float) -> str:
    """12,345; a mean over images may have a fraction."""
    return f"{value:,.1f}".removesuffix(".0")


def plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else value


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.2f}"
