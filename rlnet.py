"""RLNet from Python: trained networks, what they are worth, and what private inference with them would cost.

    import rlnet

    model = rlnet.load_model("zoo:cifar10_resnet20_teacher_24")
    print(model.about)
    found = rlnet.evaluate(model, "cifar10", attacks=["pgd"], corruptions=["fog"], limit=256)
    print(found["CA"], found["attacks"]["pgd"])
    print(rlnet.count_relus(model)["kept"])
    print(rlnet.private_cost(model, "cheetah", "wan")["seconds"]["total"])

What is wrong raises `rlnet.UserError`, one line that says what to do.
"""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attacks.attack import AttackSettings, attack_named
from attacks.mode import attack_mode
from attacks.options import EVALUATION_STEPS, length
from dataset import dataset_spec
from dataset.corruptions import SEVERITIES
from dataset.options import DataSettings
from evaluation.data import Corruptions, find_corrupted, read_split, spaced
from evaluation.evaluation import Evaluation
from evaluation.measurements import Unsaved
from evaluation.options import chosen_corruptions
from formats.measured import Accuracy
from helper.checkpoint import read_checkpoint
from helper.errors import UserError
from helper.processes import Processes
from helper.zoo import PREFIX, entry_of, local_file
from masks.counting import describe_relus, relu_totals
from models.layers import Network
from models.own import model_name
from models.plain import mask_relus
from models.restore import keep_branch, restore_model
from private_inference.costs.estimate import load_constants, rough_costs, rough_seconds
from private_inference.costs.link import network as link_named
from private_inference.engine.protocols import EngineSettings, settle_set_up
from private_inference.program.comparison import in_bits
from private_inference.program.fuse import fuse
from private_inference.program.trace import build_program
from reporting.results import best_single_branch, read_results
from reporting.tables import METRICS

__all__ = ["About", "UserError", "count_relus", "evaluate", "load_model", "mask_relus", "private_cost"]

STATE = {"state_dict", "optimizer", "average", "meter", "search"}  # of a checkpoint, tensors


@dataclass(frozen=True)
class About:
    """What a file says of its network. `branch`: the one that was kept, of the `trained` ones.

    `checkpoint`: all that the file says, but for the weights.
    """

    path: Path
    model: str
    dataset: str | None
    branch: int
    trained: tuple[int, ...]
    checkpoint: Mapping[str, object] = field(repr=False)


def load_model(path: str | Path, branch: int | None = None, model: str | None = None) -> Network:
    """A network that is ready to predict, on the CPU and in eval mode: logits of images (B, 3, S, S) in [0, 1].

    path: a checkpoint of this project, or 'zoo:NAME'. branch: the batch-norm branch that predicts; None for the best
    single one by the stored results (the zoo's, or the results.json of the run that wrote the file), 0 where there are
    none. The network has that branch alone, as its branch 0. model: 'PATH.py:function' of a network of your own, whose
    code is run only where it is named. `model.about` of what is returned is an `About`. Raises UserError.

        model = rlnet.load_model("save/models/RUN/ResNet18_best_TA0.0.pth", branch=1)
        predicted = model(images).argmax(1)
    """
    if model is not None:
        model_name(model)
    file = local_file(path)
    checkpoint = read_checkpoint(file)
    trained = checkpoint.trained_branches
    if branch is None:
        branch = _best_branch(str(path), file, trained)
    if branch not in trained:
        raise UserError(f"branch {branch}: {path} trained the branches {', '.join(map(str, trained))}")
    network = keep_branch(restore_model(checkpoint, file), branch).eval()
    said = checkpoint.model_dump(exclude=STATE, exclude_unset=True)
    network.about = About(file, checkpoint.model.name, checkpoint.dataset, branch, trained, said)
    return network


def evaluate(
    model: nn.Module,
    dataset: str,
    *,
    attacks: Sequence[str | AttackSettings] = ("pgd",),
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
    limit: int | None = None,
    branch: int = 0,
    data_root: str = "data",
    batch_size: int = 128,
    seed: int = 0,
) -> dict:
    """What `model` is worth on the test images of `dataset`, or on `limit` of them, evenly spaced.

    model: any module that gives logits (B, classes) for images (B, 3, S, S) in [0, 1], where it lies; afterwards it is
    as it was. attacks: names, with their customary radius and 20 steps, or `AttackSettings`. corruptions: names, or
    'common', 'extra', 'all'; images are corrupted as they are read, with a procedural frost. branch: of a network of
    several. Accuracies are in per cent:

        {'images': n, 'CA': %, 'attacks': {name: %}, 'AdvA': % of the main attack, 'severities': [...],
         'corruptions': {name: [% per severity]}, 'NPA': % where the 15 common ones at all severities were measured}

    Without a limit these are the figures of validate_common_corruptions.py. Raises UserError for an unknown name, a
    missing data set, an attack that is not installed.

        found = rlnet.evaluate(model, "cifar10", attacks=["fgsm", "pgd"], limit=1000)
    """
    spec = dataset_spec(dataset)
    settled = [_settled(attack) for attack in attacks]
    wanted = Corruptions(tuple(chosen_corruptions(corruptions)), tuple(sorted(set(severities))), generate=True)
    images = DataSettings(data_root=data_root, batch_size=batch_size, select_on="test")
    tensors = chain(model.parameters(), model.buffers())
    processes = Processes(0, 1, next((tensor.device for tensor in tensors), torch.device("cpu")))
    test = read_split(images, spec, processes, train=False)
    source = spaced(test, limit)
    corrupted, _ = find_corrupted(wanted, images, spec, source, seed)
    evaluation = Evaluation(model, [branch], spec, source, Unsaved(), processes, images, seed=seed)
    with attack_mode(model, branch):
        found = evaluation.accuracy(settled, corrupted, wanted.names, wanted.severities)
    alone = partial(_of_branch, branch=str(branch))
    return {name: alone(value) for name, value in found.items()}


def count_relus(model: nn.Module) -> dict:
    """{'kept': n, 'total': n, 'layers': [{'layer', 'shape', 'total', 'kept'}]} of the masked ReLUs of a network.

    rlnet.count_relus(rlnet.load_model("zoo:NAME"))["kept"]
    """
    return describe_relus(model)


def private_cost(
    model: Network,
    protocol: str = "cheetah",
    network: str = "lan",
    *,
    comparison: int = 32,
    batch: int = 1,
    branch: int = 0,
    fused: bool = True,
) -> dict:
    """What private inference of one image would cost, estimated from constants of this project; nothing is run.

    protocol: 'cheetah' or 'semi2k'; network: 'lan', 'wan', ... or 'Mbit/s,ms' there and back, such as '400,4'.
    comparison: bits that every layer compares in, 32 or 64; whether a network's values allow 32 is checked where it is
    run. batch: images that run at once.
    {'network': {...}, 'bytes': n, 'rounds': n, 'seconds': {part: s, 'total': s}, 'derived_from_published': s}.

        rlnet.private_cost(model, "cheetah", "400,4")["seconds"]["total"]
    """
    if comparison not in (32, 64):
        raise UserError(f"comparison {comparison} is neither 32 nor 64")
    known = load_constants().protocols
    if protocol not in known:
        raise UserError(f"no constants for protocol {protocol}; there are {', '.join(known)}")
    try:
        link = link_named(network)
    except ArgumentTypeError as error:
        raise UserError(str(error)) from error
    settings = EngineSettings(protocol, comparison, batch, set_up=settle_set_up(protocol, EngineSettings.set_up))
    program = build_program(model, branch)
    program = in_bits(fuse(program) if fused else program, comparison)
    costs = rough_costs(program, known[protocol], settings)
    return rough_seconds(costs, link, relu_totals(model)[0])


def _settled(attack: str | AttackSettings) -> AttackSettings:
    if isinstance(attack, str):
        entry = attack_named(attack)
        own: dict[str, Any] = {option.name: option.default for option in entry.options}
        attack = entry.settle(length(entry.eps), length(entry.step_size), EVALUATION_STEPS, **own)
    attack.entry.check()
    return attack


def _best_branch(name: str, file: Path, trained: Sequence[int]) -> int:
    accuracy = _zoo_accuracy(name) if name.startswith(PREFIX) else _stored_accuracy(file)
    best = best_single_branch(accuracy).branch if accuracy else 0
    return best if best in trained else trained[0]


def _zoo_accuracy(name: str) -> Accuracy | None:
    """The metrics that were measured on every branch."""
    entry = entry_of(name.removeprefix(PREFIX))
    found = {metric: {branch: getattr(row, metric) for branch, row in entry.accuracy.items()} for metric in METRICS}
    known = {metric: values for metric, values in found.items() if values and None not in values.values()}
    if "CA" not in known or not entry.images:
        return None
    return Accuracy.model_validate({"images": max(entry.images.values()), **known})


def _stored_accuracy(file: Path) -> Accuracy | None:
    """What the run that wrote the file measured of it."""
    results = file.parent / "results.json"
    if not results.is_file():
        return None
    try:
        entries = read_results(results).checkpoints or ()
    except UserError:  # of another version, or damaged: the network can be loaded all the same
        return None
    return next((entry.accuracy for entry in entries if Path(entry.file).name == file.name), None)


def _of_branch(value: object, branch: str) -> object:
    """Of nested results the part of one branch: {'0': %} -> %."""
    if not isinstance(value, dict):
        return value
    return value[branch] if branch in value else {name: _of_branch(part, branch) for name, part in value.items()}
