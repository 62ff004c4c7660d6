"""The named ReLU budgets: one YAML file each, with model, data set, image size, source and a fraction per ReLU layer.

profiles.yaml holds the sensitivity profile eta of every architecture that has one; `--relu_budget N` spends N by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from helper.errors import UserError
from helper.files import read_yaml

FOLDER = Path(__file__).parent
SUFFIX = "_sensitivity"


@dataclass(frozen=True)
class NamedBudget:
    name: str
    label: str
    model: str
    dataset: str
    image_size: int
    source: str
    fractions: tuple[float, ...]


def budget_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}.yaml"))


def load_budget(name: str) -> NamedBudget:
    """The budget of that name, or in the YAML file at that path. Raises UserError where there is none."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.exists():
        raise UserError(f"--sensitivity {name}: no such budget; known are {', '.join(budget_names())}, or a .yaml path")
    content = read_yaml(path, "a budget file")
    try:
        fractions = tuple(float(fraction) for fraction in content["fractions"])
        labels = [str(content[key]) for key in ("label", "model", "dataset")]
        return NamedBudget(path.stem, *labels, int(content["image_size"]), str(content["source"]), fractions)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a budget file ({type(error).__name__}: {error}); "
            "it needs label, model, dataset, image_size, source and fractions"
        ) from error


def load_profile(architecture: str) -> tuple[list[float], bool]:
    """eta per ReLU layer, and whether it is this architecture's own; ResNet18's stands in where there is none."""
    profiles = read_yaml(FOLDER / "profiles.yaml")
    return profiles.get(architecture, profiles["ResNet18"])["eta"], architecture in profiles
