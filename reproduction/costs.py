"""How long what is left will take here: passes through the network, times the seconds that one takes.

Counted in forward passes of one image. A backward pass to the images costs one more, to the weights too two more.
Steps of a kind that were done before on this machine say what a pass takes; for the others a network is timed.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from attacks.attack import attack_named
from dataset import dataset_spec, heldout_split, load_dataset
from dataset.corruptions import CORRUPTIONS, SEVERITIES
from evaluation.options import ADVERSARIAL
from helper.errors import UserError
from models.branches import plan_views
from reproduction.config import TRAININGS, Config, Options
from reproduction.ledger import Ledger
from reproduction.runner import ROOT, child_environment
from reproduction.steps import OF_EVERY_ROW, Place, Step

TO_WEIGHTS, TO_IMAGES = 3, 2  # forward and backward
# Standard AutoAttack on a network that withstands it for a third of the images: two APGDs and FAB of 100 steps, nine
# targets each for two of them, Square's 5,000 queries. Read off runs, to the nearest thousand.
AUTOATTACK_PASSES = 4000
# What a step spends beside passes: augmentation, losses, the optimizer.
OVERHEAD = 1.2
DEFAULTS = {"batch_size": 128, "steps": 7, "eval_steps": 20}
TIMING = """
import sys, time, torch
sys.path.insert(0, sys.argv[1])
from models import build_model
model = build_model(sys.argv[2], num_classes=10, image_size=int(sys.argv[3])).to(memory_format=torch.channels_last)
images = torch.rand(32, 3, int(sys.argv[3]), int(sys.argv[3])).contiguous(memory_format=torch.channels_last)
seconds = []
for _ in range(4):
    started = time.perf_counter()
    model(images).square().mean().backward()
    seconds.append(time.perf_counter() - started)
print(sorted(seconds[1:])[1] / (3 * len(images)))
"""


@dataclass(frozen=True)
class Sizes:
    """Images of the data set."""

    train: int
    heldout: int
    test: int


def read_sizes(config: Config, place: Place) -> Sizes:
    """Raises UserError where the data set is missing."""
    spec = dataset_spec(config.dataset)
    train, test = (load_dataset(spec, place.data_root, train=part, download=False) for part in (True, False))
    return Sizes(len(train), len(heldout_split(train.labels)[1]), len(test))


def passes(step: Step, sizes: Sizes) -> float | None:
    """Forward passes of one image that a step takes, or None where that is not what its time goes by."""
    if step.kind in TRAININGS:
        return _training_passes(step, sizes)
    if step.kind in (*OF_EVERY_ROW, "autoattack"):
        return _evaluation_passes(step, sizes)
    return None


def given(step: Step) -> Options:
    """Without those that null leaves out."""
    return {name: value for name, value in step.options.items() if value is not None}


def _training_passes(step: Step, sizes: Sizes) -> float:
    options: Options = {**DEFAULTS, **given(step)}
    attack = options.get("attack_mode", "none")
    views = ["clean", *(["aug"] if options.get("augment_mode") == "augmix" else [])]
    views += [] if attack == "none" else ["adv"]
    shares = {name: view.size / 6 for name, view in plan_views(views, step.branches, 6).items()}
    image = TO_WEIGHTS * sum(shares.values())
    if step.kind != "teacher":
        image += sum(shares.values())  # the teacher's answers
    if attack != "none":
        image += TO_IMAGES * shares["adv"] * attack_named(attack).settle(0, 0, options["steps"]).steps
    held_out = 0 if options.get("select_on", "heldout") != "heldout" else sizes.heldout
    train = _limited(sizes.train - held_out, options, "limit_train_batches")
    judged = _limited(held_out or sizes.test, options, "limit_val_batches")
    attacked = min(judged, options.get("select_attack_images") or judged)
    networks, branches = 2 if options.get("ema") else 1, step.branches
    under_attack = 0 if attack == "none" else TO_IMAGES * options["eval_steps"] + 1
    judging = networks * (judged * branches + attacked * under_attack)
    tested = _limited(sizes.test, options, "limit_val_batches")
    testing = 2 * networks * branches * tested * (1 + under_attack)
    return options["epochs"] * (train * image + judging) + testing


def _evaluation_passes(step: Step, sizes: Sizes) -> float:
    options: Options = {**DEFAULTS, "corruptions": "common", "restarts": 1, **given(step)}
    attacked = 1 if options.get("attack_branches") == ADVERSARIAL else step.branches
    image = step.branches  # clean
    if options.get("attack_mode") != "none":
        image += step.branches + attacked * (TO_IMAGES + 1)  # self-checks, FGSM
        image += attacked * options["restarts"] * (TO_IMAGES * options.get("steps", 20) + 1)
    if step.kind == "autoattack":
        image += attacked * AUTOATTACK_PASSES
    if options["corruptions"] != "none":
        image += step.branches * len(CORRUPTIONS) * len(SEVERITIES)
    return _limited(sizes.test, options, "limit_val_batches") * image


def _limited(images: int, options: Options, limit: str) -> int:
    batches = options.get(limit)
    return images if batches is None else min(images, batches * options["batch_size"])


def seconds_a_pass(config: Config, threads: int | None) -> float:
    """Of one image through an all-ReLU network in float32, timed here in a process of its own.

    A machine with a GPU is not timed: its steps tell, once there are some.
    """
    size = str(dataset_spec(config.dataset).image_size)
    words = [sys.executable, "-c", TIMING, str(ROOT), config.model, size]
    ended = subprocess.run(words, capture_output=True, text=True, env=child_environment(threads), check=False)
    if ended.returncode:
        raise UserError(f"the network could not be timed: {ended.stderr.strip().splitlines()[-1]}")
    return float(ended.stdout)


def estimate(
    steps: Sequence[Step], ledger: Ledger, config: Config, place: Place, threads: int | None
) -> dict[str, float | None]:
    """Seconds that each step, by name, has still to take; None where nothing is known of its kind yet."""
    sizes = read_sizes(config, place)
    done = [step for step in steps if ledger.is_done(step)]
    timed = seconds_a_pass(config, threads) * OVERHEAD if len(done) < len(steps) else 0
    left: dict[str, float | None] = {}
    for step in steps:
        alike = [other for other in done if other.kind == step.kind]
        spent = sum(ledger.seconds(other) for other in alike)
        work = passes(step, sizes)
        if step in done:
            left[step.name] = 0.0
        elif work is None:
            left[step.name] = spent / len(alike) if alike else None
        else:
            rate = spent / sum(passes(other, sizes) or 0 for other in alike) if alike else timed
            left[step.name] = max(0.0, work * rate - ledger.seconds(step))
    return left
