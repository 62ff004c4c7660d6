"""docs/zoo.md, the table of trained networks; made from zoo/index.json and never written by hand.

python -m reporting.zoo_page    # after zoo/index.json was edited
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from formats.zoo import ZooEntry, ZooIndex
from helper.files import replace_file, write_json
from helper.text import percent
from helper.zoo import INDEX, PREFIX, read_index, zoo_folder
from reporting.comparability import attack_in_words, made_in_words
from reporting.zoo_entry import ZOO_METRICS

HEAD = """# Trained networks

Made from zoo/index.json by `add_to_zoo.py`. `zoo:NAME` stands for the file of a network wherever a script takes a
checkpoint, and in `models.restore.load_model("zoo:NAME")`; the digest of the file is checked:

```
python validate_common_corruptions.py --path zoo:NAME
python measure_private_inference.py --path zoo:NAME --network wan
```
"""
NO_NETWORK = "\nThere is no network yet.\n"
EXPLANATION = """
CA, NPA, AdvA and AutoAttack are accuracies in per cent through batch-norm branch 0 / 1 / ..., every attack made through
the branch that predicts. MB (1e6 bytes, both ways) and rounds are the cost of private inference of one image after the
first. Epochs and hours are those of all runs that an entry's command names, of a student the teacher's among them. A
dash stands for what was not measured or is not known.
"""
COLUMNS = (
    *("network", "model", "data set", "ReLUs", *ZOO_METRICS, "images"),
    *("protocol", "MB", "rounds", "epochs", "hours", "seed"),
)


def zoo_page(entries: Sequence[ZooEntry]) -> str:
    """The page as Markdown: how to use a network, a row for each, and what to know before comparing its figures."""
    if not entries:
        return HEAD + NO_NETWORK
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(_row, entries)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"{HEAD}\n{table}{EXPLANATION}\n{''.join(map(_remark, entries))}"


def write_index(entries: Sequence[ZooEntry]) -> None:
    """zoo/index.json, and the page that goes with it."""
    write_json(zoo_folder() / INDEX, ZooIndex(tuple(entries)).as_json())
    write_page()


def write_page() -> None:
    content = zoo_page(read_index()).encode()
    replace_file(page_path(), lambda file: file.write(content))


def page_path() -> Path:
    return zoo_folder().parent / "docs" / "zoo.md"


def _row(entry: ZooEntry) -> list[str]:
    share = f"{entry.relus:,} ({100 * entry.relus / entry.total:.0f} %)"
    accuracies = [
        " / ".join(percent(getattr(row, metric)) for row in entry.accuracy.values()) if metric in entry.images else "-"
        for metric in ZOO_METRICS
    ]
    private = entry.private
    return [
        *(f"`{PREFIX}{entry.name}`", entry.model, _cell(entry.dataset), share, *accuracies, _images(entry.images)),
        *((private.protocol, f"{private.bytes / 1e6:.1f}", str(private.rounds)) if private else ("-", "-", "-")),
        *map(_cell, (entry.epochs, entry.hours, entry.seed)),
    ]


def _images(images: Mapping[str, int]) -> str:
    """'10,000'; '10,000, AutoAttack 512' where a metric was measured on fewer."""
    most = max(images.values(), default=None)
    fewer = [f"{metric} {count:,}" for metric, count in images.items() if count != most]
    return ", ".join(["-" if most is None else f"{most:,}", *fewer])


def _remark(entry: ZooEntry) -> str:
    """One line of a list: stage, weights, teacher, attacks, corruptions, commit, note and warnings."""
    parts = [
        None if entry.stage is None else f"stage {entry.stage}",
        entry.kind and f"{entry.kind} weights",
        entry.interpolation and f"between its branches at t = {entry.interpolation.t:g}",
        entry.teacher and f"teacher {PREFIX}{entry.teacher}",
        entry.select_on and f"epoch selected on {entry.select_on}",
        *(f"{metric}: {attack_in_words(attack)}" for metric, attack in entry.attacks.items()),
        entry.corrupted_images and f"NPA: corruptions {made_in_words(entry.corrupted_images)}",
        entry.commit and f"commit {entry.commit[:10]}",
        entry.note,
        *(f"warning: {sentence}" for sentence in entry.warnings),
    ]
    return f"- `{PREFIX}{entry.name}`: {'; '.join(part for part in parts if part)}\n"


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


if __name__ == "__main__":
    write_page()
