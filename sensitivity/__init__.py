"""The named ReLU budgets: one YAML file each, with model, data set, image size, source and a fraction per ReLU layer.

profiles.yaml holds the sensitivity profile eta of every architecture that has one; `--relu_budget N` spends N by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from helper.errors import UserError
from helper.files import read_yaml, replace_file

FOLDER = Path(__file__).parent
SUFFIX = "_sensitivity"


@dataclass(frozen=True)
class NamedBudget:
    """`fractions`: of each layer's ReLUs. `sensitivity`: how much each layer matters, where that was measured."""

    name: str
    label: str
    model: str
    dataset: str
    image_size: int
    source: str
    fractions: tuple[float, ...]
    sensitivity: tuple[float, ...] | None = None


def budget_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}.yaml"))


def load_budget(name: str, option: str = "--sensitivity") -> NamedBudget:
    """The budget of that name, or in the YAML file at that path; `option` gave it. UserError where there is none."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"{option} {name}: no such budget; known are {', '.join(budget_names())}, or a .yaml path")
    content = read_yaml(path, "a budget file")
    try:
        fractions = tuple(float(fraction) for fraction in content["fractions"])
        label, model, dataset, source = (str(content[key]) for key in ("label", "model", "dataset", "source"))
        measured = content.get("sensitivity")
        measured = measured and tuple(float(value) for value in measured)
        return NamedBudget(path.stem, label, model, dataset, int(content["image_size"]), source, fractions, measured)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a budget file ({type(error).__name__}: {error}); "
            "it needs label, model, dataset, image_size, source and fractions"
        ) from error


def write_budget(path: Path, about: Mapping[str, object], kept: Sequence[int], totals: Sequence[int]) -> None:
    """A file for --sensitivity that keeps exactly `kept` of `totals` ReLUs a layer.

    `about`: label, model, dataset, image_size, source, and whatever else is to be read there.
    """
    fractions = [exact_fraction(count, total) for count, total in zip(kept, totals, strict=True)]
    content = {**about, "relus": list(kept), "fractions": fractions}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
    replace_file(path, lambda file: file.write(text.encode()))


def exact_fraction(kept: int, total: int) -> float:
    """The fraction of `total` that rounds down to `kept`: kept / total, or the next larger number."""
    fraction = kept / total
    return fraction if math.floor(fraction * total) == kept else math.nextafter(fraction, 1)


def load_profile(architecture: str) -> tuple[list[float], bool]:
    """eta per ReLU layer, and whether it is this architecture's own; ResNet18's stands in where there is none."""
    profiles = read_yaml(FOLDER / "profiles.yaml")
    return profiles.get(architecture, profiles["ResNet18"])["eta"], architecture in profiles
