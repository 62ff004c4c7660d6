"""What a file of reproduce/ says: which networks are trained, in which rounds, and how they are measured.

A round trains a teacher and students for a list of budgets. Everything at the top of a file holds for all of its
rounds; a round names what differs. An option is that of the script, without the dashes: `true` gives the bare option,
`false` and `null` leave it out.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from formats.configuration import Configuration, RoundRecord
from helper.errors import UserError
from helper.files import read_record
from helper.zoo import local_file
from masks.allocation import relu_count, relus_of
from models.branches import branch_count

FOLDER = Path(__file__).parent.parent / "reproduce"
TRAININGS = ("teacher", "stage1", "stage2")
# Options of all three trainings, then of each, then of the measurements.
OPTION_GROUPS = ("training", *TRAININGS, "one_branch", "evaluation", "corruptions", "autoattack", "private")
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Round:
    """`budgets`: as written, '25%' of the ReLUs, '50k' of them, or '12s' of private inference, by the link and the
    protocol of `private`. `teacher_of`: the round whose teacher serves here, that of the same seed or else of its
    first. `teacher_file`: a finished teacher, which is not trained here; the options of `teacher` say how it was.

    `checkpoint`: 'TA' or 'ATA', which of the selected weights is passed on. `interpolate`: the weight of AdvA, with
    which one network without branches is made of every student, or None; `one_branch`: what differs from stage 2 where
    that is fine-tuned further, through its one branch, or None. `evaluation`, `corruptions`, `autoattack`,
    `private`: options of these measurements, or None where they are not made. `corruptions` is an evaluation too: with
    it, NPA is measured apart, of fewer images than CA and AdvA, and takes the place of that of `evaluation`.
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
    one_branch: Options | None
    evaluation: Options | None
    corruptions: Options | None
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
    common = read_record(path, Configuration)
    rounds = tuple(_settle(path, name, common, own or RoundRecord()) for name, own in common.rounds.items())
    names = [one.name for one in rounds]
    for position, one in enumerate(rounds):
        if one.teacher_of is not None and one.teacher_of not in names[:position]:
            raise UserError(f"{path}: round {one.name}: teacher_of {one.teacher_of} is no round before it")
    return Config(path.stem, common.title or path.stem, common.model, common.dataset, rounds)


def _settle(path: Path, name: str, common: Configuration, own: RoundRecord) -> Round:
    settled = common.model_copy(update={key: getattr(own, key) for key in own.model_fields_set})
    options: dict[str, Any] = {group: _merged(group, common, own) for group in OPTION_GROUPS}
    everywhere = options.pop("training") or {}
    for stage in TRAININGS:
        trained = options[stage] = {**everywhere, **(options[stage] or {})}
        made = not settled.teacher_of and not settled.teacher_file
        used = made if stage == "teacher" else settled.teacher_of or settled.budgets
        epochs = trained.get("epochs")
        if used and (not isinstance(epochs, int) or isinstance(epochs, bool)):
            raise UserError(f"{path}: round {name}: {stage} needs 'epochs', a whole number")
    fine_tuned = options["one_branch"] is not None and settled.budgets
    if fine_tuned and (settled.interpolate is None or branches_with(options["stage2"]) == 1):
        raise UserError(
            f"{path}: round {name}: one_branch fine-tunes what interpolation makes of a student of several branches; "
            "it needs interpolate, the weight of AdvA, and use2BN or use3BN; or say one_branch: null"
        )
    return Round(
        name=name,
        title=own.title or name,
        budgets=tuple(map(str, settled.budgets)),
        seeds=settled.seeds,
        teacher_of=settled.teacher_of,
        teacher_file=local_file(settled.teacher_file) if settled.teacher_file else None,
        checkpoint=settled.checkpoint,
        interpolate=settled.interpolate,
        **options,
    )


def _merged(group: str, common: RoundRecord, own: RoundRecord) -> Options | None:
    """Options of all rounds, and those of this one; None where it says null, or nobody says anything."""
    layers: list[Options | None] = [getattr(part, group) for part in (common, own) if group in part.model_fields_set]
    if not layers or layers[-1] is None:
        return None
    return {name: value for layer in layers for name, value in (layer or {}).items()}


def branches_with(options: Options) -> int:
    """Of the network that a training with these options makes."""
    return branch_count(use2BN=bool(options.get("use2BN")), use3BN=bool(options.get("use3BN")))


def budget_of(budget: str, total: int, where: str) -> int:
    """'25%', '50k' or '50000' -> ReLUs of a network that has `total`. Raises UserError for anything else."""
    try:
        relus = relus_of(relu_count(budget), total)
    except (ValueError, ArgumentTypeError) as error:
        raise UserError(f"{where}: budget '{budget}' is no share such as 25%, and no number such as 50k") from error
    if not 0 <= relus <= total:
        raise UserError(f"{where}: budget '{budget}' is {relus} ReLUs, the network has {total}")
    return relus
