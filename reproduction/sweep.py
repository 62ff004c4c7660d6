"""A sweep over budgets from one teacher, as a configuration in memory: what a file of reproduce/ would say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dataset.folder import PREFIX
from helper.checkpoint import read_checkpoint
from helper.errors import UserError
from helper.files import real_path
from reproduction.config import Config, Options, Round

# What students are trained with as their teacher was.
AS_THE_TEACHER = ("augment_mode", "attack_mode", "use2BN", "use3BN")
# What the place of a step in the sweep says of it.
GIVEN = {"path", "path_t", "path_s_load", "model_s", "relu_budget", "sensitivity", "dataset", "seed", "resume"}
GIVEN |= {"run_name", "save_dir", "data_root", "no_download", "frost_dir"}


def as_options(words: Sequence[str], where: str) -> dict[str, object]:
    """['--steps', '3', '--use2BN', '--corruptions', 'fog', 'snow'] -> {'steps': 3, 'use2BN': True, ...}

    Raises UserError, with the option `where` they stand, for what the sweep itself gives.
    """
    found: dict[str, list[str | int]] = {}
    for word in words:
        if word.startswith("--"):
            name, equals, value = word.removeprefix("--").partition("=")
            found[name] = values = [plain(value)] if equals else []
        elif found:
            values.append(plain(word))
        else:
            raise UserError(f"{where} {word}: options begin with --, such as '--epochs 20'")
    if clashing := GIVEN & found.keys():
        raise UserError(f"{where}: --{min(clashing)} is for the sweep to give; leave it out")
    return {name: True if not values else values[0] if len(values) == 1 else values for name, values in found.items()}


def plain(word: str) -> str | int:
    return int(word) if word.isdigit() else word


def sweep_config(
    teacher: Path, budgets: Sequence[str], name: str, seed: int, options: Mapping[str, Options], private: Options
) -> Config:
    """`options`: of 'stage1', 'stage2' and 'evaluation', beyond those that students share with their teacher.

    Raises UserError for a checkpoint that is no teacher of ours.
    """
    checkpoint = read_checkpoint(teacher)
    if checkpoint.stage:
        raise UserError(f"--path_t {teacher} is of stage {checkpoint.stage}; a teacher comes from train_teacher.py")
    if checkpoint.dataset is None:
        raise UserError(f"--path_t {teacher} does not name its data set; the files of train_teacher.py do")
    kept, args = checkpoint.data_set, checkpoint.args
    common = {name: args[name] for name in AS_THE_TEACHER if args.get(name) not in (None, False, "none")}
    one = Round(
        name="sweep",
        title="sweep",
        teacher=common,
        stage1={**common, "robust_train_mode": default_mode(common), **options["stage1"]},
        stage2={**common, "robust_train_mode": default_mode(common), **options["stage2"]},
        budgets=tuple(budgets),
        seeds=(seed,),
        teacher_of=None,
        teacher_file=real_path(teacher),
        checkpoint="TA",
        interpolate=None,
        one_branch=None,
        evaluation=options["evaluation"],
        corruptions=None,
        autoattack=None,
        private=private,
    )
    dataset = f"{PREFIX}{kept.path}" if kept else checkpoint.dataset
    return Config(name, f"sweep of {name}", checkpoint.model.name, dataset, (one,))


def default_mode(common: Options) -> str:
    """What taught students most on CIFAR-10, docs/results.md."""
    return "kl+ce+advce" if "attack_mode" in common else "none"
