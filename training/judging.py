"""What an epoch is worth, which epochs are kept for it, and what the kept ones are worth on the test set."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from attacks.attack import Attack, AttackSettings
from evaluation.accuracy import evaluate
from formats.checkpoint import Checkpoint
from formats.measured import Accuracy, Kept
from formats.results import Selected
from helper.checkpoint import read_checkpoint
from helper.processes import on_main_process
from helper.run_folder import AVERAGED
from models.branches import branch_of, branches_of
from models.layers import Network
from models.restore import load_weights
from models.weights import describe_weights
from training.data import Loaders
from training.overfitting import overfits, overfitting_warning
from training.plan import Plan
from training.progress import Progress, say
from training.run_folder import RunFolder
from training.step import Task


def trained_branches(task: Task) -> list[int]:
    return branches_of(task.views, task.branches)


def judge(task: Task, network: Network, loaders: Loaders, attack: AttackSettings | None, seed: int) -> dict:
    """What an epoch is judged by: CA of every trained branch, AdvA of the adversarial one."""
    measure = partial(evaluate, network, processes=task.processes, seed=seed, description="evaluate")
    accuracy = measure(loaders.selection, clean_branches=trained_branches(task))
    if attack:
        adversarial = [branch_of("adv", task.branches)]
        attacked = measure(loaders.attacked_selection, clean_branches=[], attack_branches=adversarial, attack=attack)
        accuracy |= {"AdvA": attacked["AdvA"], "attacked_images": attacked["images"]}
    return accuracy


def watch_overfitting(
    task: Task, progress: Progress, accuracy: dict, statistics: dict[str, float], judge: Attack
) -> None:
    """Name catastrophic overfitting in the epoch in which it is seen first, by its accuracy under `judge`."""
    (withstood,) = accuracy["AdvA"].values()
    now = {"AdvA": withstood, "accuracy_adv": statistics["accuracy_adv"]}
    if not progress.overfitted and overfits(now, progress.withstood):
        progress.overfitted = progress.epoch
        say(task.processes, f"warning: {overfitting_warning(progress.overfitted, judge)}")
    if not progress.withstood or withstood > progress.withstood["AdvA"]:
        progress.withstood = now


def keep_best(
    task: Task,
    run: RunFolder,
    progress: Progress,
    accuracy: dict,
    checkpoint: Callable[[], Checkpoint],
    *,
    kind: str,
    every: bool,
) -> None:
    """Write the files of the criteria that this epoch is best at; of equals the later, trained at a lower rate.

    `kind` is that of the network, RAW or AVERAGED, and begins the suffix of its files. `every`: the last epoch is the
    best.
    """
    for criterion, value in criteria(task, accuracy).items():
        suffix = kind + criterion
        if every or suffix not in progress.best or value >= progress.best[suffix]["value"]:
            progress.best[suffix] = {"value": value, "epoch": progress.epoch}
            run.save(run.best(suffix), checkpoint())


def criteria(task: Task, accuracy: dict) -> dict[str, float]:
    """Accuracies to choose an epoch by, under the suffix of their file: lambda is the branch that predicts."""
    clean = accuracy["CA"]["0"]
    if "adv" not in task.views:
        return {"": clean}
    branch = branch_of("adv", task.branches)
    return {"_TA0.0": clean, f"_ATA{float(branch)}": accuracy["AdvA"][str(branch)]}


def test_checkpoints(task: Task, run: RunFolder, plan: Plan, progress: Progress, loaders: Loaders) -> list[Selected]:
    """Test accuracy of every selected checkpoint through every trained branch; equal epochs are measured once."""
    measured: dict[tuple[bool, int], dict] = {}  # (whether it is the average, epoch) -> 'accuracy', 'weights'
    rows = []
    for suffix, best in progress.best.items():
        network = (suffix.startswith(AVERAGED), best["epoch"])
        if network not in measured:
            best_checkpoint = on_main_process(partial(read_checkpoint, run.best(suffix)))
            load_weights(task.student, best_checkpoint.state_dict, run.best(suffix))
            accuracy = evaluate(
                task.student,
                loaders.test,
                task.processes,
                clean_branches=trained_branches(task),
                attack_branches=trained_branches(task),
                attack=plan.judged_under,
                seed=plan.seed,
                description=f"test best{suffix}",
            )
            weights = describe_weights(task.student)
            measured[network] = {"accuracy": Accuracy(**accuracy), "weights": Kept(**weights) if weights else None}
        rows.append(Selected(file=str(run.best(suffix)), **best, **measured[network]))
    return rows
