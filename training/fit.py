"""The loop over epochs that the training scripts share: train, evaluate, choose, save, and stop without a loss."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from time import perf_counter

import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from attacks.attack import SINGLE_STEP, AttackSettings
from evaluation.accuracy import evaluate
from helper.checkpoint import read_checkpoint, tensors_to_cpu
from helper.processes import on_main_process
from helper.run_folder import AVERAGED, RAW, plain_arguments
from helper.script import Stopped, StopSignal
from models.branches import branch_of, branches_of
from models.layers import Network
from models.restore import describe_model
from training.average import WeightAverage
from training.epoch import train_one_epoch
from training.meter import EpochMeter
from training.overfitting import overfits, overfitting_warning
from training.parallel import broadcast_statistics
from training.run_folder import RunFolder
from training.step import Task
from training.update import Update


@dataclass
class Progress:
    """Where a run stands: epochs done, steps done of the next one, the best so far, and the state of the mask search.

    `best`: suffix of the file name -> {'value': %, 'epoch': n}. `calm_epochs`: for how many epochs in a row the masks
    have hardly moved. `withstood`: the epoch of the best accuracy under attack so far, with what was then measured.
    `overfitted`: the epoch from which on the training attack is withstood and PGD is not, 0 for none.
    """

    epoch: int = 0
    step: int = 0
    best: dict[str, dict] = field(default_factory=dict)
    masks_frozen: bool = True
    calm_epochs: int = 0
    withstood: dict[str, float] = field(default_factory=dict)
    overfitted: int = 0
    seconds: float = 0.0


def trained_branches(task: Task) -> list[int]:
    return branches_of(task.views, task.branches)


def fit(
    task: Task,
    run: RunFolder,
    identity: dict,
    args: argparse.Namespace,
    *,
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[float], float],
    train_loader: DataLoader,
    selection_loader: DataLoader,
    attacked_loader: DataLoader,
    attack: AttackSettings | None,
) -> Progress:
    """Train `task.student` for args.epochs, from `run.checkpoint` on where there is one. Returns how it went.

    Every epoch is judged by the images of `selection_loader`, and under `attack` by those of `attacked_loader`.
    `identity` goes into every checkpoint: model name, data set, stage, and what later stages need. A stop signal ends
    the process with status 0 after the step in hand is saved.
    """
    device = task.processes.device
    progress, meter = Progress(masks_frozen=task.search is None), EpochMeter(device)
    average = WeightAverage(task.student, args.ema) if args.ema else None
    if run.checkpoint:
        progress = restore(task, run.checkpoint, optimizer, meter, average)
    update = Update(task, optimizer, meter, average)
    networks = {RAW: task.student} | ({AVERAGED: average.network} if average else {})
    run.open_logs(progress.epoch)
    stop, started = StopSignal(), perf_counter() - progress.seconds
    batches = train_loader.batch_sampler
    batches.set_epoch(progress.epoch)
    steps = len(batches)

    def checkpoint(network: Network, **more) -> dict:
        return {
            **describe_model(identity["model_name"], network),
            **identity,
            "args": plain_arguments(vars(args)),
            "epoch": progress.epoch,
            "trained_branches": trained_branches(task),
            **more,
        }

    def save_progress() -> None:
        progress.seconds = perf_counter() - started
        # Sums are over all processes, so every process must take part; the file is the main one's.
        sums = {"meter": meter.state_dict(), "search": task.search.state_dict() if task.search else None}
        if task.processes.is_main:
            state = {"progress": asdict(progress), "optimizer": optimizer.state_dict(), **sums}
            state |= {"average": average.state_dict()} if average else {}
            run.save(run.last, checkpoint(task.student, **tensors_to_cpu(state)))

    def after_step(step: int) -> bool:
        stopping = stop.requested()
        if stopping or step == steps or step % args.save_freq == 0:
            meter.means()  # raises where the loss is not finite: such weights must not replace good ones
            if not args.sync_bn:
                for network in networks.values():
                    broadcast_statistics(network)
            progress.step = step
            save_progress()
        return stopping

    while progress.epoch < args.epochs:
        batches.set_epoch(progress.epoch, progress.step)
        if progress.masks_frozen:
            task.search = None
        epoch_started = perf_counter()
        statistics = train_one_epoch(
            update,
            train_loader,
            schedule,
            epoch=progress.epoch,
            first_step=progress.step,
            steps=steps,
            print_every=args.print_freq,
            stop_after=after_step,
            description=f"epoch {progress.epoch + 1}/{args.epochs}",
        )
        if statistics is None:
            step = f"step {progress.step} of epoch {progress.epoch + 1}"
            raise Stopped(f"stopped after {step}; go on with --resume auto")
        with stop.all_saved():
            accuracies = {
                kind: judge(task, network, selection_loader, attacked_loader, attack, args.seed)
                for kind, network in networks.items()
            }
        progress.epoch, progress.step = progress.epoch + 1, 0
        meter.reset()
        for kind, accuracy in accuracies.items():
            if progress.masks_frozen:
                best = partial(checkpoint, networks[kind], metrics=accuracy, averaged=kind == AVERAGED)
                keep_best(task, run, args, progress, accuracy, best, kind)
        if args.attack_mode in SINGLE_STEP and "adv" in task.views:
            watch_overfitting(task, progress, accuracies[RAW], statistics)
        moved = None
        if not progress.masks_frozen:
            moved = update_masks(task, progress, args)
            update.masks_changed()
        record = {"epoch": progress.epoch, **statistics}
        for kind, accuracy in accuracies.items():
            record |= {f"TA{kind}": accuracy["CA"], f"ATA{kind}": accuracy["AdvA"]}
        record |= {} if moved is None else {"mask_distance": moved}
        record["seconds"] = perf_counter() - epoch_started
        run.log_epoch(record)
        save_progress()
        say(task, summary(record, args.epochs))
    stop.nothing_to_save()  # the test that follows can be done again
    return progress


def judge(
    task: Task,
    network: Network,
    selection_loader: DataLoader,
    attacked_loader: DataLoader,
    attack: AttackSettings | None,
    seed: int,
) -> dict:
    """What an epoch is judged by: CA of every trained branch, AdvA of the adversarial one."""
    measure = partial(evaluate, network, processes=task.processes, seed=seed, description="evaluate")
    accuracy = measure(selection_loader, clean_branches=trained_branches(task))
    if attack:
        adversarial = [branch_of("adv", task.branches)]
        attacked = measure(attacked_loader, clean_branches=[], attack_branches=adversarial, attack=attack)
        accuracy |= {"AdvA": attacked["AdvA"], "attacked_images": attacked["images"]}
    return accuracy


def watch_overfitting(task: Task, progress: Progress, accuracy: dict, statistics: dict[str, float]) -> None:
    """Name catastrophic overfitting in the epoch in which it is seen first."""
    (withstood,) = accuracy["AdvA"].values()
    now = {"AdvA": withstood, "accuracy_adv": statistics["accuracy_adv"]}
    if not progress.overfitted and overfits(now, progress.withstood):
        progress.overfitted = progress.epoch
        say(task, f"warning: {overfitting_warning(progress.overfitted)}")
    if not progress.withstood or withstood > progress.withstood["AdvA"]:
        progress.withstood = now


def restore(
    task: Task,
    checkpoint: dict,
    optimizer: torch.optim.Optimizer,
    meter: EpochMeter,
    average: WeightAverage | None,
) -> Progress:
    """Put student, masks, optimizer and sums back as `save_progress` found them."""
    task.student.load_state_dict(checkpoint["state_dict"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    meter.load_state_dict(checkpoint["meter"], task.processes.is_main)
    if task.search and checkpoint["search"]:
        task.search.load_state_dict(checkpoint["search"], task.processes.is_main)
    if average:
        average.load_state_dict(checkpoint["average"])
    return Progress(**checkpoint["progress"])


def keep_best(
    task: Task,
    run: RunFolder,
    args: argparse.Namespace,
    progress: Progress,
    accuracy: dict,
    checkpoint: Callable[[], dict],
    kind: str,
) -> None:
    """Write the files of the criteria that this epoch is best at; of equals the later, trained at a lower rate.

    `kind` is that of the network, RAW or AVERAGED, and begins the suffix of its files.
    """
    for criterion, value in criteria(task, accuracy).items():
        suffix = kind + criterion
        if args.select_on == "last" or suffix not in progress.best or value >= progress.best[suffix]["value"]:
            progress.best[suffix] = {"value": value, "epoch": progress.epoch}
            run.save(run.best(suffix), checkpoint())


def criteria(task: Task, accuracy: dict) -> dict[str, float]:
    """Accuracies to choose an epoch by, under the suffix of their file: lambda is the branch that predicts."""
    clean = accuracy["CA"]["0"]
    if "adv" not in task.views:
        return {"": clean}
    branch = branch_of("adv", task.branches)
    return {"_TA0.0": clean, f"_ATA{float(branch)}": accuracy["AdvA"][str(branch)]}


def update_masks(task: Task, progress: Progress, args: argparse.Namespace) -> float:
    """New masks from this epoch's sums; freeze them when they have come to rest, or the last epochs begin."""
    moved = task.search.update_masks()
    progress.calm_epochs = progress.calm_epochs + 1 if moved < args.mask_patience_tol else 0
    last_epochs = progress.epoch >= args.epochs - args.mask_freeze_epochs
    progress.masks_frozen = last_epochs or progress.calm_epochs >= args.mask_patience
    return moved


def test_checkpoints(
    task: Task,
    run: RunFolder,
    args: argparse.Namespace,
    progress: Progress,
    loader: DataLoader,
    attack: AttackSettings | None,
) -> list[dict]:
    """Test accuracy of every selected checkpoint through every trained branch; equal epochs are measured once."""
    measured: dict[tuple[bool, int], dict] = {}  # (whether it is the average, epoch)
    rows = []
    for suffix, best in progress.best.items():
        network = (suffix.startswith(AVERAGED), best["epoch"])
        if network not in measured:
            best_checkpoint = on_main_process(partial(read_checkpoint, run.best(suffix)))
            task.student.load_state_dict(best_checkpoint["state_dict"])
            measured[network] = evaluate(
                task.student,
                loader,
                task.processes,
                clean_branches=trained_branches(task),
                attack_branches=trained_branches(task),
                attack=attack,
                seed=args.seed,
                description=f"test {run.best(suffix).name}",
            )
        rows.append({"file": str(run.best(suffix)), **best, "accuracy": measured[network]})
    return rows


def summary(record: dict, epochs: int) -> str:
    """One line for people, from the epoch's record."""
    parts = [f"epoch {record['epoch']}/{epochs}", f"loss {record['loss']:.4f}", f"lr {record['learning_rate']:.4f}"]
    names = [f"{metric}{kind}" for kind in (RAW, AVERAGED) for metric in ("TA", "ATA")]
    parts += [f"{name} {branch}: {value:.2f} %" for name in names for branch, value in record.get(name, {}).items()]
    if "mask_distance" in record:
        parts.append(f"mask moved {record['mask_distance']:.4f}")
    return ", ".join([*parts, f"{record['images_per_second']:.0f} images/s", f"{record['seconds']:.0f} s"])


def say(task: Task, text: str) -> None:
    if task.processes.is_main:
        tqdm.write(text)
