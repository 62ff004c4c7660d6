"""Where the figures of a run come from: in words, and all that is recorded, as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from formats.results import Results, TrainingStage
from helper.text import duration
from reporting.comparability import Run

SELECTED = {"heldout": "best epoch on held-out images", "test": "best epoch on test images", "last": "last epoch"}
STAGES = {0: "teacher", 1: "stage 1, mask search", 2: "stage 2, fine-tuning"}


def in_words(run: Run) -> list[tuple[str, str]]:
    """(what, sentence): the folder, what was measured, the trainings back to the teacher, machine and software."""
    results = run.results
    found = [("folder", str(run.folder)), ("made by", made_by(results))]
    found += [(title, words) for title, words in trainings(results)]
    found += [("software and machine", software(results.versions))] if results.versions else []
    return found


def made_by(results: Results) -> str:
    words = [results.script]
    if results.checkpoint:
        words.append(f"of {results.checkpoint}")
    if results.measured_on:
        words.append(f"on {'held-out' if results.measured_on == 'heldout' else 'test'} images")
    if results.wall_time_s is not None:
        words.append(f"in {duration(results.wall_time_s)}")
    if results.device:
        processes = results.processes or 1
        words.append(f"on {results.device}" + (f" with {processes} processes" if processes > 1 else ""))
    return " ".join(words)


def trainings(results: Results) -> Iterator[tuple[str, str]]:
    """The recipe of every stage, the last one first; of results of before it was recorded, of a training run alone."""
    stages = results.training
    if stages is None and results.epochs is not None:
        stages = (TrainingStage(options=results.args, epoch=results.epochs),)
    for stage in stages or ():
        parts = [f"epoch {stage.epoch} of {stage.options.get('epochs')}"] if stage.epoch else []
        parts += [duration(3600 * stage.hours)] if stage.hours is not None else []
        name = "training" if stage.stage is None else STAGES[stage.stage]
        yield name, ", ".join([*parts, *recipe_in_words(stage.options)])


def recipe_in_words(options: Mapping) -> list[str]:
    """What of a training's options tells it from others."""
    value: Callable[[str], Any] = options.get
    branches = 3 if value("use3BN") else 2 if value("use2BN") else 1
    budget = value("sensitivity") or value("relu_budget")
    attacked = value("attack_mode") not in (None, "none")
    parts = [
        f"mode {value('robust_train_mode')}" if value("robust_train_mode") else None,
        f"{value('attack_mode')} at {255 * value('eps'):.3g}/255" if attacked and value("eps") else None,
        "AugMix" if value("augment_mode") == "augmix" else None,
        f"{branches} branches" if branches > 1 else None,
        f"budget {budget}" if budget else None,
        f"search {value('mask_search')}" if value("mask_search") else None,
        f"batches of {value('batch_size')}" if value("batch_size") else None,
        f"rate {value('learning_rate'):g}, {value('lr_schedule')}" if value("learning_rate") else None,
        f"averaged weights ({value('ema')})" if value("ema") else None,
        SELECTED.get(value("select_on")),
        f"seed {value('seed')}" if value("seed") is not None else None,
    ]
    return [part for part in parts if part]


def software(versions: Mapping) -> str:
    commit = versions.get("rlnet")
    packages = [f"{name} {version}" for name, version in versions.items() if name not in ("rlnet", "processor")]
    machine = [versions["processor"]] if versions.get("processor") else []
    return ", ".join([*([f"this project at {commit}"] if commit else []), *packages, *machine])


def recorded(results: Results) -> str:
    """The file, without what tables show in full."""
    content = results.as_json()
    content["accuracy"].pop("corruptions", None)
    content["relus"].pop("layers", None)
    return json.dumps(content, indent=1)
