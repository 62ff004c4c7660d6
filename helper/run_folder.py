"""The folder of a run: where it lies and what is in it, for whoever reads it. training/run_folder.py writes it.

<stem>_best*.pth    the selected weights          log.jsonl       one line an epoch
<stem>_last.pth     everything needed to go on    tensorboard/    the same figures as curves
results.json        the outcome, written last
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from formats.log import Epoch
from helper.errors import checked, damaged
from helper.files import Kind, parse_json, read_text, real_path

# Options that may differ between a run and its continuation: they do not change what is computed.
FREE_OPTIONS = {"data_root", "save_dir", "run_name", "resume", "device", "num_workers", "no_download", "print_freq"}
FREE_OPTIONS |= {"save_freq", "local_rank", "channels_last", "compile", "long_names"}
FREE_OPTIONS |= {"use1BN"}  # takes back what a checkpoint says: where it does, use2BN or use3BN differ

# Whose accuracy a key of the log, or a file of selected weights, means: the trained network's, or its average's.
RAW, AVERAGED = "", "_ema"

MASKS = "masks.npz"  # of an evaluated network that has some, bool (C, H, W) by layer

LONGEST = 40  # characters of the name that a run has by default


def read_log(path: Path) -> list[Epoch]:
    """The records of a run folder's log.jsonl, one an epoch; none where it has no log."""
    return [record for _, record in log_lines(path / "log.jsonl")]


def log_lines(log: Path) -> list[tuple[str, Epoch]]:
    """Every line with what it says; one cut short is left out. Raises UserError for a file that is no log."""
    if not log.exists():
        return []
    lines = enumerate(read_text(log, Kind.JSON).splitlines(keepends=True), 1)
    return [(line, epoch_of(line, f"{log}, line {number}")) for number, line in lines if line.endswith("\n")]


def epoch_of(line: str, where: str) -> Epoch:
    """What a line of the log at `where` says."""
    try:
        return checked(Epoch, parse_json(line), where)
    except ValueError as error:
        raise damaged(where, Epoch.kind, error, Epoch.remedy) from error


def plain_arguments(options: Mapping[str, object]) -> dict:
    """What files record of a run's options: plain values, by name."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in sorted(options.items())}


def differing_options(stored: Mapping[str, object], given: Mapping[str, object]) -> list[str]:
    """Names of the options that have another value in either run's arguments, and change what is computed."""
    names = (stored.keys() | given.keys()) - FREE_OPTIONS
    return sorted(name for name in names if not _same(stored.get(name), given.get(name)))


def _same(one: object, other: object) -> bool:
    """Whether two values of an option are: a file is the same by whatever path."""
    if isinstance(one, str) and isinstance(other, str):
        return one == other or real_path(one) == real_path(other)
    return one == other


def runs_folder(save_dir: str | Path, stage: int) -> Path:
    """Where the runs of a stage lie: teachers in save/models, students in save/student_model/stage1 and stage2."""
    return Path(save_dir, "student_model", f"stage{stage}") if stage else Path(save_dir, "models")


def run_folder(save_dir: str | Path, stage: int, name: str) -> Path:
    return runs_folder(save_dir, stage) / name


def short_name(long: str, readable: str) -> str:
    """`long` where it is short and without colons, else the first words of `readable` and a digest of `long`."""
    if len(long) <= LONGEST and ":" not in long:
        return long
    digest = _digest(long)
    return f"{first_words(readable.replace(':', '-'), LONGEST - 1 - len(digest))}_{digest}"


def first_words(name: str, longest: int) -> str:
    """As much of 'one_two_three' as fits, of whole words: half a number would be another one."""
    if len(name) <= longest:
        return name
    return name[: longest + 1].rpartition("_")[0] or name[:longest]


def default_folder(parent: Path, long: str, readable: str, *, long_names: bool = False) -> Path:
    """The folder in `parent` of the run that has no name of its own.

    Its name is `long` with `long_names`; else that which an earlier run has left there, long or short; else the short
    one.
    """
    if long_names or (parent / long).is_dir():
        return parent / long
    short = parent / short_name(long, readable)
    if short.name == long:
        return short
    return next((folder for folder in sorted(parent.glob(f"*_{_digest(long)}")) if folder.is_dir()), short)


def find_by_long_name(path: Path) -> Path:
    """`path` itself, or, where there is none, the file of that name in the folder whose long name is that of path's."""
    if path.exists():
        return path
    return next(iter(sorted(path.parent.parent.glob(f"*_{_digest(path.parent.name)}/{path.name}"))), path)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def checkpoint_name(path: Path) -> str:
    """<run>_<checkpoint>, what folders of measurements of a checkpoint are called where that is short enough."""
    return f"{real_path(path).parent.name}_{path.stem}"


def measurements_folder(parent: Path, path: Path, more: str = "", *, long_names: bool = False) -> Path:
    """The folder in `parent` of measurements of the checkpoint at `path`; `more` tells them from others of it."""
    readable = f"{more}_{path.stem.replace('_best', '')}".strip("_")
    return default_folder(parent, f"{checkpoint_name(path)}{more}", readable, long_names=long_names)
