"""docs/zoo.md, the table of trained networks; made from zoo/index.json and never written by hand.

python -m reporting.zoo_page    # after zoo/index.json was edited
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from helper.files import replace_file, write_json
from helper.text import percent
from helper.zoo import INDEX, PREFIX, read_index, zoo_folder
from reporting.comparability import attack_in_words, corruptions_in_words
from reporting.results import with_title
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


def zoo_page(entries: list[dict]) -> str:
    """The page as Markdown: how to use a network, a row for each, and what to know before comparing its figures."""
    if not entries:
        return HEAD + NO_NETWORK
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(_row, entries)]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return f"{HEAD}\n{table}{EXPLANATION}\n{''.join(map(_remark, entries))}"


def write_index(entries: list[dict]) -> None:
    """zoo/index.json, and the page that goes with it."""
    write_json(zoo_folder() / INDEX, entries)
    write_page()


def write_page() -> None:
    content = zoo_page(read_index()).encode()
    replace_file(page_path(), lambda file: file.write(content))


def page_path() -> Path:
    return zoo_folder().parent / "docs" / "zoo.md"


def _row(entry: dict) -> list[str]:
    share = f"{entry['relus']:,} ({100 * entry['relus'] / entry['total']:.0f} %)"
    accuracies = [
        " / ".join(percent(row[metric]) for row in entry["accuracy"].values()) if metric in entry["images"] else "-"
        for metric in ZOO_METRICS
    ]
    private = entry["private"] or {}
    return [
        *(f"`{PREFIX}{entry['name']}`", entry["model"], _cell(entry["dataset"]), share, *accuracies),
        *(_images(entry["images"]), _cell(private.get("protocol"))),
        *(_cell(private.get("bytes"), lambda count: f"{count / 1e6:.1f}"), _cell(private.get("rounds"))),
        *(_cell(entry[key]) for key in ("epochs", "hours", "seed")),
    ]


def _images(images: dict[str, int]) -> str:
    """'10,000'; '10,000, AutoAttack 512' where a metric was measured on fewer."""
    most = max(images.values(), default=None)
    fewer = [f"{metric} {count:,}" for metric, count in images.items() if count != most]
    return ", ".join([_cell(most, "{:,}".format), *fewer])


def _remark(entry: dict) -> str:
    """One line of a list: stage, weights, teacher, attacks, corruptions, commit, note and warnings."""
    stage, teacher, corrupted = entry["stage"], entry["teacher"], entry["corrupted_images"]
    parts = [
        None if stage is None else f"stage {stage}",
        entry["kind"] and f"{entry['kind']} weights",
        entry["interpolation"] and f"between its branches at t = {entry['interpolation']['t']:g}",
        teacher and f"teacher {PREFIX}{teacher}",
        entry["select_on"] and f"epoch selected on {entry['select_on']}",
        *(f"{metric}: {attack_in_words(with_title(attack))}" for metric, attack in entry["attacks"].items()),
        corrupted and f"NPA: corruptions {corruptions_in_words(entry)}",
        entry["commit"] and f"commit {entry['commit'][:10]}",
        entry["note"],
        *(f"warning: {sentence}" for sentence in entry["warnings"]),
    ]
    return f"- `{PREFIX}{entry['name']}`: {'; '.join(part for part in parts if part)}\n"


def _cell(value: object, write: Callable[..., str] = str) -> str:
    return "-" if value is None else write(value)


if __name__ == "__main__":
    write_page()
