"""Accuracy of a network, clean and under attack, through any of its batch-norm branches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attacks.attack import AttackSettings
from evaluation.robustness import withstands
from helper.errors import UserError
from helper.placement import to_device
from helper.precision import full_precision
from helper.processes import Processes, bar_options, sum_over_processes
from models.layers import use_branch


def evaluate(
    model: nn.Module,
    loader: Iterable[dict[str, Tensor]],
    processes: Processes,
    *,
    clean_branches: Sequence[int],
    attack_branches: Sequence[int] = (),
    attack: AttackSettings | None = None,
    seed: int = 0,
    description: str = "evaluate",
) -> dict:
    """{'images': n, 'CA': {branch: %}, 'AdvA': {branch: %}}, over all processes; branches are strings, as JSON has it.

    All in `full_precision`. Every branch is attacked through itself.
    """
    was_training = model.training
    model.eval()
    device = processes.device
    correct = {("CA", branch): torch.zeros((), dtype=torch.int64, device=device) for branch in clean_branches}
    if attack:
        correct |= {("AdvA", branch): torch.zeros((), dtype=torch.int64, device=device) for branch in attack_branches}
    seen = torch.zeros((), dtype=torch.int64, device=device)
    with full_precision(), tqdm(loader, desc=description, unit="batch", **bar_options(processes)) as bar:
        for batch in to_device(bar, device):
            x, labels = batch["clean"], batch["label"]
            seen += len(labels)
            for (metric, branch), hits in correct.items():
                if attack and metric == "AdvA":
                    right = withstands(model, branch, x, labels, attack, batch["index"], seed)
                else:
                    with torch.no_grad(), use_branch(model, branch):
                        right = model(x).argmax(1) == labels
                hits += right.sum()
    model.train(was_training)
    images, *found = (int(value) for value in sum_over_processes([seen, *correct.values()]))
    if not images:
        raise UserError("there is not one image to evaluate on")
    shares: dict[str, dict[str, float]] = {"CA": {}, "AdvA": {}}
    for (metric, branch), hit in zip(correct, found, strict=True):
        shares[metric][str(branch)] = 100 * hit / images
    return {"images": images, **shares}
