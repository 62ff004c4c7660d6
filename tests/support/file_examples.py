"""A small file of every kind: what it says, and how it is written and read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel

from formats.budgets import BudgetList, Profiles
from formats.checkpoint import Checkpoint, RunState
from formats.configuration import Configuration
from formats.constants import KnownConstants
from formats.log import Epoch
from formats.manifest import Manifest
from formats.measurements import MeasurementsRecord
from formats.parties import Greeting, JobRecord, KnownPrograms, PartyResult, ProgramAnswer
from formats.private_costs import Estimates, PrivateCosts
from formats.program import ProgramRecord
from formats.reproduction import DoneSteps
from formats.results import Results
from formats.zoo import ZooIndex
from helper.checkpoint import read_run_state
from helper.files import Kind as AnyKind
from helper.files import map_array, read_bytes, read_record
from helper.run_folder import log_lines
from models import build_model
from models.restore import describe_model, load_model, restore_model
from private_inference.engine.messages import heard
from support import more_file_examples as more
from support.more_file_examples import ZEROS
from support.result_examples import PGD, content_of, record_of


@dataclass(frozen=True)
class Kind:
    """`content`: plain values that a file may hold; `write`: those as bytes; `read`: a file as its model.

    `model`: of the content. `name`: of the file. `says`: how an error names it, where not by its path.
    """

    name: str
    model: type[BaseModel]
    content: Any
    write: Callable[[Any], bytes]
    read: Callable[[Path], object]
    says: str | None = None

    @property
    def plain(self) -> bool:
        """Whether there are no arrays in it."""
        return self.write in (json_bytes, line_bytes, yaml_bytes)


def json_bytes(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()


def line_bytes(content: Any) -> bytes:
    return (json.dumps(content) + "\n").encode()


def yaml_bytes(content: Any) -> bytes:
    return yaml.safe_dump(content, sort_keys=False).encode()


def torch_bytes(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def read_model(path: Path) -> Checkpoint:
    """As scripts do: the network too."""
    return load_model(path)[1]


def read_state(path: Path) -> RunState:
    state = read_run_state(path)
    restore_model(state, path)
    return state


def read_first_epoch(path: Path) -> Epoch | None:
    """None where the file has been cut short before its first line's end."""
    return next((record for _, record in log_lines(path)), None)


def checkpoint_content() -> dict[str, Any]:
    torch.manual_seed(0)
    described = describe_model("Customresnet8", build_model("resnet8", num_classes=3, image_size=32, branches=2))
    accuracy = {"images": 8, "CA": {"0": 50.0, "1": 25.0}, "AdvA": {"1": 12.5}, "attacked_images": 4}
    return {
        **described,
        "model": described["model"].model_dump(),
        "dataset": "folder:pets",
        "stage": 2,
        "data_set": {
            **{"path": "/data/pets", "classes": ("cat", "dog", "eel"), "image_size": 32, "any_size": True},
            **{"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)},
        },
        "teacher": "resnet8",
        "budget": {"label": "relu1k", "layers": (100, 200, 300)},
        "tag": "rslad+ce",
        "args": {"epochs": 3, "eps": 0.03, "select_on": "heldout", "ema": None, "lr_decay_epochs": [1.0, 2.0]},
        "epoch": 2,
        "trained_branches": (0, 1),
        "metrics": accuracy,
        "averaged": False,
        "interpolation": {"t": 0.5, "source": "run/a.pth", "sha256": ZEROS, "branches": (0, 1), "weight": None},
    }


def state_content() -> dict[str, Any]:
    content = checkpoint_content()
    weights = content["state_dict"]
    return {
        **content,
        "progress": {
            **{"epoch": 2, "step": 1, "best": {"_TA0.0": {"value": 50.0, "epoch": 2}}, "masks_frozen": False},
            **{"withstood": {"AdvA": 10.0, "accuracy_adv": 0.5}, "overfitted": 0, "seconds": 12.5},
        },
        "optimizer": {
            "state": {0: {"momentum_buffer": torch.zeros_like(weights["conv1.weight"])}},
            "param_groups": ({"lr": torch.tensor(0.1), "momentum": 0.9, "params": [0]},),
        },
        "meter": {"loss": torch.tensor([1.5, 1.0], dtype=torch.float64)},
        "search": {"epoch": 2, "calm_epochs": 0, "sums": {"relu": torch.zeros(16, 32, 32)}},
        "average": {"updates": 5, "network": {"conv1.weight": weights["conv1.weight"]}},
    }


def results_content() -> dict[str, Any]:
    made = {"origin": "generated", "folder": "data/C", "seed": 0, "frost": "procedural"}
    accuracy = {"images": 100, "CA": {"0": 90.0, "1": 89.0}, "AdvA": {"0": 1.5, "1": 45.25}}
    best = {"file": "run/best.pth", "value": 90.0, "epoch": 1, "accuracy": accuracy}
    attack = {**PGD, "title": "PGD", "norm": "Linf"}
    more = {"trained_branches": [0, 1], "attack_titles": {"pgd": "PGD"}, "checkpoints": [best], "epochs": 1}
    return content_of(attack=attack, corrupted_images=made, seed=0, versions={"torch": "2"}, **more)


def manifest_content() -> dict[str, Any]:
    return {
        **{"schema": "rlnet-corruptions-1", "generated_by": "make_corruptions.py", "dataset": "cifar10"},
        **{"split": "test", "images": 12, "image_size": 32, "test_set": ZEROS, "severities": [1, 5], "seed": 3},
        **{"frost": {"source": "procedural", "digest": ZEROS}, "versions": {"numpy": "2"}},
        "files": {"fog.npy": ZEROS, "labels.npy": ZEROS},
    }


def zoo_content() -> list[dict[str, Any]]:
    row = {"CA": 80.0, "NPA": 70.0, "AdvA": 30.0, "AutoAttack": None}
    known = {"accuracy": {"0": row}, "images": {"CA": 100}, "attacks": {"AdvA": PGD}, "warnings": ["a warning"]}
    private = {"protocol": "cheetah", "bytes": 1000, "rounds": 10}
    return [
        {
            **{"name": "student", "file": "student.pth", "sha256": ZEROS, "model": "Customresnet8", "stage": 1},
            **{"kind": "raw", "relus": 10, "total": 100, "branches": 2, "private": private, "hours": 0.5, **known},
        }
    ]


def constants_content() -> dict[str, Any]:
    relu = {"upload": {"comparisons": 77.3}, "rounds": {"step": 20.0}, "seconds": {"step": 0.03}}
    once = {"yacl": {"upload": 1.0, "download": 2.0, "rounds": 0.0, "seconds": 3.0}}
    machine = {"processor": "an abacus", "cores": 1, "system": "sand"}
    return {"machine": machine, "protocols": {"cheetah": {"relu32": relu, "set_up": once}}}


def kinds() -> dict[str, Kind]:
    def of_json(name: str, model: type[BaseModel], content: Any, write: Callable = json_bytes) -> Kind:
        return Kind(name, model, content, write, lambda path: read_record(path, model))

    def of_party(model: type[BaseModel], content: Any) -> Kind:
        says = "the other party says"
        return Kind("x", model, content, line_bytes, lambda path: heard(read_bytes(path, AnyKind.TEXT), model), says)

    return {
        "checkpoint": Kind("x.pth", Checkpoint, checkpoint_content(), torch_bytes, read_model),
        "run state": Kind("x.pth", RunState, state_content(), torch_bytes, read_state),
        "results": of_json("results.json", Results, results_content()),
        "log": Kind("log.jsonl", Epoch, record_of(1), line_bytes, read_first_epoch),
        "manifest": of_json("manifest.json", Manifest, manifest_content()),
        "zoo": of_json("index.json", ZooIndex, zoo_content()),
        "budget": of_json("x.yaml", BudgetList, more.BUDGET, yaml_bytes),
        "profiles": of_json("profiles.yaml", Profiles, more.PROFILES, yaml_bytes),
        "constants": of_json("constants.yaml", KnownConstants, constants_content(), yaml_bytes),
        "private costs": of_json("private_inference.json", PrivateCosts, more.private_costs_content()),
        "estimates": of_json("estimate.json", Estimates, more.estimates_content()),
        "measurements": of_json("measurements.json", MeasurementsRecord, more.MEASUREMENTS),
        "steps": of_json("steps.json", DoneSteps, more.STEPS_DONE),
        "configuration": of_json("x.yaml", Configuration, more.CONFIGURATION, yaml_bytes),
        "known programs": of_json("known_programs.json", KnownPrograms, {"a:1": ZEROS}),
        "job": of_json("job.json", JobRecord, more.JOB),
        "result": of_json("result.json", PartyResult, more.RESULT),
        "program": Kind("x.npz", ProgramRecord, more.program_content(), more.program_bytes, more.read_program),
        "greeting": of_party(Greeting, more.GREETING),
        "agreement": of_party(ProgramAnswer, {"digest": ZEROS, "refused": False}),
    }


def header() -> Kind:
    """Of an array, which has no model."""
    return Kind("x.npy", BaseModel, more.HEADER, more.array_bytes, map_array)
