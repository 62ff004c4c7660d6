"""The named ReLU budgets: one YAML file each, with model, data set, image size, source and a fraction per ReLU layer.

profiles.yaml holds the sensitivity profile eta of every architecture that has one; `--relu_budget N` spends N by it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from formats.budgets import BudgetList, Profiles
from helper.errors import UserError
from helper.files import read_record, replace_file

FOLDER = Path(__file__).parent
SUFFIX = "_sensitivity"


def budget_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}.yaml"))


def load_budget(name: str, option: str = "--sensitivity") -> BudgetList:
    """The budget of that name, or in the YAML file at that path; `option` gave it. UserError where there is none."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"{option} {name}: no such budget; known are {', '.join(budget_names())}, or a .yaml path")
    return read_record(path, BudgetList)


def write_budget(path: Path, about: Mapping[str, Any], kept: Sequence[int], totals: Sequence[int]) -> None:
    """A file for --sensitivity that keeps exactly `kept` of `totals` ReLUs a layer.

    `about`: label, model, dataset, image_size, source, and whatever else is to be read there.
    """
    fractions = [exact_fraction(count, total) for count, total in zip(kept, totals, strict=True)]
    content = BudgetList(**about, relus=tuple(kept), fractions=tuple(fractions)).as_json()
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120)
    replace_file(path, lambda file: file.write(text.encode()))


def exact_fraction(kept: int, total: int) -> float:
    """The fraction of `total` that rounds down to `kept`: kept / total, or the next larger number."""
    fraction = kept / total
    return fraction if math.floor(fraction * total) == kept else math.nextafter(fraction, 1)


def load_profile(architecture: str) -> tuple[Sequence[float], bool]:
    """eta per ReLU layer, and whether it is this architecture's own; ResNet18's stands in where there is none."""
    profile, own = read_record(FOLDER / "profiles.yaml", Profiles).of(architecture)
    return profile.eta, own
