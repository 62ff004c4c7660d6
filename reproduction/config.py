"""What a file of reproduce/ says: which networks are trained, in which rounds, and how they are measured.

A round trains a teacher and students for a list of budgets. Everything at the top of a file holds for all of its
rounds; a round names what differs. An option is that of the script, without the dashes: `true` gives the bare option,
`false` and `null` leave it out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helper.errors import UserError
from helper.files import read_yaml
from helper.zoo import local_file

FOLDER = Path(__file__).parent.parent / "reproduce"
TRAININGS = ("teacher", "stage1", "stage2")
# Options of all three trainings, then of each, then of the measurements.
OPTION_GROUPS = ("training", *TRAININGS, "evaluation", "autoattack", "private")
SETTINGS = {
    "title": "",
    "budgets": (),
    "seeds": (0,),
    "teacher_of": None,
    "teacher_file": None,
    "interpolate": None,
    "checkpoint": "TA",
}
IDENTITY = ("model", "dataset", "rounds")

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Round:
    """`budgets`: as written, '25%' of the ReLUs, '50k' of them, or '12s' of private inference, by the link and the
    protocol of `private`. `teacher_of`: the round whose teacher serves here.
    `teacher_file`: a finished teacher, which is not trained here; the options of `teacher` say how it was.

    `checkpoint`: 'TA' or 'ATA', which of the selected weights is passed on. `interpolate`: the weight of AdvA, with
    which one network without branches is made of every student, or None. `evaluation`, `autoattack`, `private`: options
    of these measurements, or None where they are not made.
    """

    name: str
    title: str
    teacher: Options
    stage1: Options
    stage2: Options
    budgets: tuple[str, ...]
    seeds: tuple[int, ...]
    teacher_of: str | None
    teacher_file: Path | None
    checkpoint: str
    interpolate: float | None
    evaluation: Options | None
    autoattack: Options | None
    private: Options | None


@dataclass(frozen=True)
class Config:
    name: str
    title: str
    model: str
    dataset: str
    rounds: tuple[Round, ...]


def config_names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_config(path: str | Path) -> Config:
    """The configuration in a file, or the one of that name in reproduce/. Raises UserError for one that is none."""
    path = Path(path)
    if path.suffix not in (".yaml", ".yml"):
        path = FOLDER / f"{path}.yaml"
    if not path.exists():
        raise UserError(f"--config {path}: no such file; known are {', '.join(config_names())}, or a .yaml path")
    content = read_yaml(path)
    _check_keys(content, path, "the file", (*OPTION_GROUPS, *SETTINGS, *IDENTITY))
    for key in IDENTITY:
        if not content.get(key):
            raise UserError(f"{path}: '{key}' is missing")
    _check_keys(content["rounds"], path, "rounds", content["rounds"])
    rounds = tuple(_read_round(path, name, content, own or {}) for name, own in content["rounds"].items())
    names = [one.name for one in rounds]
    for position, one in enumerate(rounds):
        if one.teacher_of is not None and one.teacher_of not in names[:position]:
            raise UserError(f"{path}: round {one.name}: teacher_of {one.teacher_of} is no round before it")
    return Config(path.stem, content.get("title") or path.stem, content["model"], content["dataset"], rounds)


def _read_round(path: Path, name: str, common: dict, own: dict) -> Round:
    where = f"round {name}"
    _check_keys(own, path, where, (*OPTION_GROUPS, *SETTINGS))
    settings: dict[str, Any] = {key: own.get(key, common.get(key, default)) for key, default in SETTINGS.items()}
    settings["title"] = own.get("title") or name
    for key in ("budgets", "seeds"):
        if not isinstance(settings[key], list | tuple):
            raise UserError(f"{path}: {where}: {key} is {settings[key]!r}, not a list")
    if settings["checkpoint"] not in ("TA", "ATA"):
        raise UserError(f"{path}: {where}: checkpoint is {settings['checkpoint']!r}, not TA or ATA")
    groups: dict[str, Any] = {}
    for group in OPTION_GROUPS:
        layers = [part[group] for part in (common, own) if group in part]
        for layer in layers:
            if layer is not None:
                _check_keys(layer, path, f"{where}: {group}", layer)
        # null takes back what holds for all rounds
        if layers and layers[-1] is not None:
            groups[group] = {name: value for layer in layers for name, value in (layer or {}).items()}
        else:
            groups[group] = None
    everywhere = groups.pop("training") or {}
    for stage in TRAININGS:
        groups[stage] = {**everywhere, **(groups[stage] or {})}
        made = not settings["teacher_of"] and not settings["teacher_file"]
        used = made if stage == "teacher" else settings["teacher_of"] or settings["budgets"]
        if used and not isinstance(groups[stage].get("epochs"), int):
            raise UserError(f"{path}: {where}: {stage} needs 'epochs', a whole number")
    settings["budgets"] = tuple(str(budget) for budget in settings["budgets"])
    settings["seeds"] = tuple(settings["seeds"])
    settings["teacher_file"] = settings["teacher_file"] and local_file(settings["teacher_file"])
    return Round(name=name, **settings, **groups)


def _check_keys(content: object, path: Path, where: str, known: Collection[str]) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{path}: {where} is {content!r}, not a mapping of names to values")
    for key in content:
        if not isinstance(key, str) or key not in known:
            raise UserError(f"{path}: {where}: unknown key '{key}'; known are {', '.join(known)}")


def relus_of(budget: str, total: int, where: str) -> int:
    """'25%', '50k' or '50000' -> ReLUs of a network that has `total`. Raises UserError for anything else."""
    scale = {"%": total / 100, "k": 1000}.get(budget[-1:])
    try:
        relus = int(budget) if scale is None else round(float(budget[:-1]) * scale)
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{where}: budget '{budget}' is neither a share such as 25% nor a number such as 50k"
        ) from error
    if not 0 <= relus <= total:
        raise UserError(f"{where}: budget '{budget}' is {relus} ReLUs, the network has {total}")
    return relus
