"""What an evaluation finds out about itself: measurements on the model and its images, and warnings in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attacks.ascent import cross_entropy_per_image
from attacks.attack import Attack, attacks
from attacks.mode import attack_mode
from formats.measurements import SelfChecks
from helper.placement import to_device
from helper.precision import full_precision
from helper.processes import Processes, bar_options, sum_over_processes

# In per cent. A few saturated images are normal; above this share the gradient hides something.
MOST_ZERO_GRADIENTS = 1.0
# AutoAttack takes some points more than PGD-20 from any network; one that hides its gradients loses far more.
FAR_BELOW_POINTS, FAR_BELOW_SHARE = 5.0, 0.25


def inspect(
    model: nn.Module, loader: Iterable[dict[str, Tensor]], processes: Processes, branches: Sequence[int]
) -> dict:
    """{'images', 'out_of_range', 'unrepeatable', 'zero_gradients': {branch: n}}: how many images, of how many.

    Out of range: a pixel is not in [0, 1]. Unrepeatable: two equal calls gave different logits, through any branch.
    Zero gradient: that of cross-entropy with respect to the image vanishes, so that no attack can follow it.
    """
    counter = partial(torch.zeros, (), dtype=torch.int64, device=processes.device)
    count = {name: counter() for name in ("images", "range", "repeat")}
    zero = [counter() for _ in branches]
    with full_precision(), tqdm(loader, desc="self-checks", unit="batch", **bar_options(processes)) as bar:
        for batch in to_device(bar, processes.device):
            x, labels = batch["clean"], batch["label"]
            count["images"] += len(x)
            count["range"] += ((x < 0) | (x > 1)).flatten(1).any(1).sum()
            changed = torch.zeros_like(labels, dtype=torch.bool)
            for branch, zeros in zip(branches, zero, strict=True):
                with attack_mode(model, branch):
                    leaf = x.detach().requires_grad_()
                    logits = model(leaf)
                    (gradient,) = torch.autograd.grad(cross_entropy_per_image(logits, labels).sum(), leaf)
                    with torch.no_grad():
                        changed |= (model(x) != logits).any(1)
                zeros += (gradient == 0).flatten(1).all(1).sum()
            count["repeat"] += changed.sum()
    images, out_of_range, unrepeatable, *vanish = (int(value) for value in sum_over_processes([*count.values(), *zero]))
    return {
        "images": images,
        "out_of_range": out_of_range,
        "unrepeatable": unrepeatable,
        "zero_gradients": {str(branch): value for branch, value in zip(branches, vanish, strict=True)},
    }


def warnings_of(found: SelfChecks, accuracy: dict, select_on: str | None) -> list[str]:
    """A sentence for each finding that makes the figures doubtful.

    `found` comes from `inspect`, `accuracy` is that of a results file; `select_on` says what the checkpoint's epoch was
    chosen on.
    """
    images, sentences = found.images, []
    if found.out_of_range:
        sentences.append(
            f"{found.out_of_range} of {images} images leave [0, 1]: eps means something else there, and the "
            "network was trained on other values"
        )
    if found.unrepeatable:
        sentences.append(
            f"two equal calls of the model differ on {found.unrepeatable} of {images} images: an attack on a "
            "network with chance in it needs the expectation over it, and is too weak without"
        )
    for branch, zeros in found.zero_gradients.items():
        if 100 * zeros > MOST_ZERO_GRADIENTS * images:
            sentences.append(
                f"branch {branch}: the gradient vanishes on {zeros} of {images} images, which no gradient attack can "
                "break: its accuracy under attack flatters"
            )
    sentences += attack_warnings(accuracy)
    if select_on == "test":
        sentences.append("the checkpoint's epoch was chosen on the test set: accuracies measured on it flatter")
    return sentences


def attack_warnings(accuracy: dict) -> list[str]:
    """Attacks of one norm, ordered by strength, must find more and more, and none may help."""
    found, sentences = accuracy.get("attacks", {}), []
    entries = [attack for name, attack in attacks().items() if name in found]
    attacked = {branch for values in found.values() for branch in values}
    for branch, clean in accuracy["CA"].items():
        if branch not in attacked:
            continue
        left = {attack.name: found[attack.name][branch] for attack in entries}
        for attack in entries:
            if (value := left[attack.name]) > clean:
                sentences.append(
                    f"branch {branch}: accuracy under {attack.title} ({value:.2f} %) is above clean accuracy "
                    f"({clean:.2f} %): the attack helps, so it does not maximise the loss"
                )
        for weak, strong in pairwise(entries):
            if weak.norm == strong.norm:
                sentences += [f"branch {branch}: {text}" for text in _compared(weak, strong, left)]
    return sentences


def _compared(weak: Attack, strong: Attack, left: dict[str, float]) -> Iterator[str]:
    """What is wrong with two attacks whose accuracies are `left`, or with the network's gradients."""
    weak_value, strong_value = left[weak.name], left[strong.name]
    if strong_value > weak_value:
        yield (
            f"{strong.title} leaves {strong_value:.2f} %, more than the {weak_value:.2f} % that the weaker "
            f"{weak.title} leaves: {strong.title} is too weak here, or its gradients are masked"
        )
    gap = weak_value - strong_value
    if strong.unmasks and gap > FAR_BELOW_POINTS and gap > FAR_BELOW_SHARE * weak_value:
        yield (
            f"{strong.title} leaves {strong_value:.2f} %, far below {weak.title}'s {weak_value:.2f} %: "
            f"a sign of masked gradients; trust {strong.title}'s figure, not {weak.title}'s"
        )
