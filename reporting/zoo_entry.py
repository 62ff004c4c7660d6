"""What zoo/index.json says of a network, all of it taken from what other scripts wrote; what nobody knows is None."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from formats.checkpoint import Checkpoint
from formats.measured import FORMER_TITLES, AttackRecord
from formats.results import Results
from formats.zoo import ZooEntry
from helper.errors import UserError
from helper.run_folder import FREE_OPTIONS, differing_options
from helper.zoo import PREFIX
from reporting.results import AUTOATTACK, PGD
from reporting.tables import METRICS

STANDARD = FORMER_TITLES[AUTOATTACK]  # a metric of its own, beside AdvA, which is PGD's
ZOO_METRICS = (*METRICS, STANDARD)
OF_A_TEACHER = "train_teacher.py"
# What a checkpoint holds beside its network when it is there to go on from.
TRAINING_STATE = "progress"
FOLDERS = re.compile(r"""(?<![\w.)])(~[a-z]*)?/[^\s'",;]*/""")


def without_paths(value: Any) -> Any:
    """A copy of nested dicts and lists in which every path is the file's name alone; tensors stay as they are."""
    if isinstance(value, str):
        return Path(value).name if "/" in value else value
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_paths(item) for item in value)
    return value


def without_folders(text: str) -> str:
    """A sentence or a command in which of every path from the root, or from a home, only the file's name is left."""
    return FOLDERS.sub("", text)


def weights_alone(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """The checkpoint without paths. Raises UserError for one that holds the state of a training run."""
    if TRAINING_STATE in checkpoint.model_fields_set:
        raise UserError(f"{path} holds the state of a training run; take one of the run's *_best*.pth, weights alone")
    return Checkpoint.model_validate(without_paths(checkpoint.model_dump(exclude_unset=True)))


def kind_of_weights(checkpoint: Checkpoint, given: str | None) -> str | None:
    """'raw' or 'averaged' (--ema); `given` where the checkpoint does not say."""
    known = None
    if checkpoint.averaged is not None:
        known = "averaged" if checkpoint.averaged else "raw"
    elif checkpoint.args and not checkpoint.args.get("ema"):
        known = "raw"
    if known and given and known != given:
        raise UserError(f"--kind {given}: the checkpoint says {known}")
    return known or given


def check_evaluation(results: Results, where: str, digests: Collection[str]) -> None:
    """Raise UserError where the results at `where` are not of the weights with these digests on test images."""
    if results.checkpoint_sha256 is None:
        raise UserError(
            f"--evaluation {where} does not say which weights it is of; validate_common_corruptions.py, called again, "
            "says so and measures nothing twice"
        )
    if results.checkpoint_sha256 not in digests:
        raise UserError(f"--evaluation {where} is of other weights, those of {results.checkpoint}")
    if results.measured_on != "test":
        raise UserError(f"--evaluation {where} was measured on {results.measured_on} images; the zoo tells the test's")


def measured_accuracy(evaluations: Sequence[Results]) -> dict:
    """The fields of an entry that evaluations fill; of several with the same metric that on the most images counts.

    `accuracy` has PGD's as AdvA; `corrupted_images` are those that NPA was measured on.
    """
    found: dict = {"accuracy": {}, "images": {}, "attacks": {}, "corrupted_images": None, "warnings": []}
    for results in sorted(evaluations, key=lambda results: results.accuracy.images):
        accuracy, attacks = results.accuracy, results.accuracy.attacks or {}
        values = {metric: accuracy.of(metric) for metric in METRICS}
        values |= {"AdvA": attacks.get(PGD, {}), STANDARD: attacks.get(AUTOATTACK, {})}
        for metric, branches in values.items():
            if not branches:
                continue
            found["images"][metric] = accuracy.images
            for branch, value in branches.items():
                row = found["accuracy"].setdefault(branch, dict.fromkeys(ZOO_METRICS))
                row[metric] = round(value, 2)
        if values["AdvA"]:
            found["attacks"]["AdvA"] = results.attack
        if values[STANDARD]:
            title = FORMER_TITLES[AUTOATTACK]
            found["attacks"][STANDARD] = AttackRecord(
                name=AUTOATTACK, title=title, norm="Linf", eps=results.args["eps"]
            )
        if values["NPA"] and results.corrupted_images:
            found["corrupted_images"] = without_paths(results.corrupted_images.as_json())
        found["warnings"] += [without_folders(sentence) for sentence in results.warnings]
    return found | {"warnings": list(dict.fromkeys(found["warnings"]))}


def completed(found: dict, former: ZooEntry) -> dict:
    """The fields `found` of an entry; what they leave open is as `former`, an entry of the same weights, says it."""
    known = former.model_dump()
    entry = {name: known[name] if value is None else value for name, value in found.items()}
    kept = [metric for metric in known["images"] if metric not in found["images"]]
    for measured in ("images", "attacks"):
        entry[measured] = {metric: of for metric, of in known[measured].items() if metric in kept} | found[measured]
    entry["accuracy"] = {
        branch: {
            metric: (known if metric in kept else found)["accuracy"].get(branch, {}).get(metric)
            for metric in ZOO_METRICS
        }
        for branch in sorted({*known["accuracy"], *found["accuracy"]})
    }
    entry["warnings"] = list(dict.fromkeys([*(known["warnings"] if kept else ()), *found["warnings"]]))
    return entry


def check_trainings(trainings: Sequence[Results], checkpoint: Checkpoint) -> None:
    """Raise UserError where the last of the training runs is not the one that wrote the checkpoint."""
    for results in trainings:
        if results.epochs is None:
            raise UserError(f"--training: the results of {results.script} are those of no training")
    stored, given = (without_paths(found) for found in (checkpoint.args, trainings[-1].args))
    for name in differing_options(stored, given):
        raise UserError(
            f"--training: the last run did not train this checkpoint: {name} is {given.get(name)} there and "
            f"{stored.get(name)} here"
        )


def training_record(trainings: Sequence[Results], teacher: ZooEntry | None) -> dict:
    """Epochs, hours and command of all the runs that led to a network. Those of a `teacher` of the zoo count, where
    its own run is not among `trainings`.
    """
    if not trainings:
        return {"epochs": None, "hours": None, "command": None}
    epochs = sum(results.epochs or 0 for results in trainings)
    hours = sum(results.wall_time_s or 0 for results in trainings) / 3600
    commands = [command_of(results, teacher.name if teacher else None) for results in trainings]
    if teacher and teacher.command and all(results.script != OF_A_TEACHER for results in trainings):
        epochs, hours = epochs + (teacher.epochs or 0), hours + (teacher.hours or 0)
        commands.insert(0, teacher.command)
    return {"epochs": epochs, "hours": round(hours, 2), "command": " && ".join(commands)}


def command_of(results: Results, teacher: str | None = None) -> str:
    """A command that trains as the run of these results did: every option that matters, with the value that it had."""
    words = ["python", results.script]
    for name, value in without_paths(results.args).items():
        if name in FREE_OPTIONS or value is None or (name == "density" and results.args.get("dense")):
            continue
        if name == "sync_bn":  # the one flag that is on unless it is turned off
            words += [] if value else ["--no_sync_bn"]
        elif isinstance(value, bool):
            words += [f"--{name}"] if value else []
        elif isinstance(value, list):
            words += [f"--{name}", ",".join(map(str, value))]
        else:
            words += [f"--{name}", PREFIX + teacher if teacher and name == "path_t" else str(value)]
    return shlex.join(words)
