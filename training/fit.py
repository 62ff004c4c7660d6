"""The loop over epochs that the training scripts share: train, evaluate, choose, save, and stop without a loss."""

from __future__ import annotations

from helper.script import Stopped, StopSignal

from dataclasses import asdict, fields
from pathlib import Path
from time import perf_counter

from dataset.folder import same_images
from formats.checkpoint import Checkpoint, RunState
from formats.log import LOG_SCHEMA, Epoch, in_per_cent
from formats.measured import Accuracy
from helper.checkpoint import check_first_step, fits_this_run, load_optimizer, tensors_to_cpu
from helper.errors import UserError
from helper.run_folder import AVERAGED, RAW
from masks.search import MaskSearch
from models.layers import Network, relu_sites
from models.restore import describe_model, load_weights
from training.average import WeightAverage
from training.data import Loaders
from training.epoch import train_one_epoch
from training.judging import judge, keep_best, trained_branches, watch_overfitting
from training.meter import EpochMeter
from training.parallel import broadcast_statistics
from training.plan import Plan
from training.progress import Clock, Progress, say, summary
from training.run_folder import RunFolder
from training.sparse_momentum import SparseMomentum
from training.step import Task
from training.update import Update


class Fit:
    """`task` carried out as planned, from where `run` stands: calling it trains to the end and returns how it went.

    A stop signal ends the process with status 0 after the step in hand is saved.
    """

    def __init__(self, task: Task, plan: Plan, run: RunFolder, loaders: Loaders):
        self.task, self.plan, self.run, self.loaders = task, plan, run, loaders
        self.optimizer = plan.optimisation.optimizer(task.student, plan.seed)
        self.sparse = self.optimizer if isinstance(self.optimizer, SparseMomentum) else None
        self.schedule = plan.optimisation.schedule()
        self.meter = EpochMeter(task.processes.device)
        self.average = WeightAverage(task.student, plan.optimisation.ema) if plan.optimisation.ema else None
        self.progress = Progress(masks_frozen=task.search is None)
        self.epoch_s: float | None = None  # of the last epoch, judging included
        self.batches = loaders.train.batch_sampler
        self.steps = len(self.batches)
        if run.checkpoint:
            self.restore(run.checkpoint, run.resumed_from)
        self.update = Update(task, self.optimizer, self.meter, self.average)
        self.networks = {RAW: task.student} | ({AVERAGED: self.average.network} if self.average else {})
        self.batches.set_epoch(self.progress.epoch)

    def restore(self, stored: RunState, path: Path) -> None:
        """Put student, masks, optimizer and sums back as `save_progress` found them, and `path` holds them.

        Raises UserError where they are not those of this run.
        """
        task, is_main = self.task, self.task.processes.is_main
        if not same_images(stored.data_set, self.plan.data.kept):
            raise UserError(f"--resume: {self.plan.data.title} no longer holds the images that the run began with")
        progress, searched = stored.progress, stored.search
        if searched and progress.calm_epochs is not None:  # a run of before searches kept their own time
            searched = {"epoch": progress.epoch, "calm_epochs": progress.calm_epochs, "sums": searched}
        with fits_this_run(path):
            self.check(stored)
            if task.search and searched:
                task.search.load_state_dict(searched, is_main)
            if task.search and progress.masks_frozen:
                task.search.harden()
            load_weights(task.student, stored.state_dict, path)
            load_optimizer(self.optimizer, stored.optimizer)
            check_first_step(self.optimizer, path)
            self.meter.load_state_dict(stored.meter, is_main)
            if self.average and stored.average:
                self.average.take_masks()
                self.average.restore(stored.average, path)
        known = progress.model_dump(include={field.name for field in fields(Progress)}, exclude_unset=True)
        self.progress = Progress(**known)

    def check(self, stored: RunState) -> None:
        """Raise ValueError where it stands at no point of this run, or lacks what is needed there."""
        progress, epochs = stored.progress, self.plan.optimisation.epochs
        if progress.epoch > epochs or progress.step > (self.steps if progress.epoch < epochs else 0):
            raise ValueError(f"it stands at step {progress.step} after {progress.epoch} epochs")
        if progress.epoch == epochs and not progress.best:
            raise ValueError("it is at its end and knows no best epoch")
        if not progress.masks_frozen and not (self.task.search and stored.search):
            raise ValueError("its masks are not frozen, and it has no search for them")
        if self.average and not stored.average:
            raise ValueError("it has no average of the weights")
        names = {"loss", *(term.name for term in self.task.objective.terms)}
        names |= {f"accuracy_{view}" for view in self.task.views}
        if progress.step and (missing := names - stored.meter.keys()):
            raise ValueError(f"it is within an epoch and has no sum of {min(missing)}")

    def __call__(self) -> Progress:
        self.run.open_logs(self.progress.epoch)
        self.stop, self.started = StopSignal(), perf_counter() - self.progress.seconds
        while self.progress.epoch < self.plan.optimisation.epochs:
            self.one_epoch()
        self.stop.nothing_to_save()  # the test that follows can be done again
        return self.progress

    def one_epoch(self) -> None:
        """Train it, or what is left of it; judge the networks, keep the best, move the masks, log and save."""
        task, progress, plan, started = self.task, self.progress, self.plan, perf_counter()
        if progress.masks_frozen:
            task.search = None
        statistics = self.train()
        with self.stop.all_saved():
            accuracies = {
                kind: judge(task, network, self.loaders, plan.judged_under, plan.seed)
                for kind, network in self.networks.items()
            }
        progress.epoch, progress.step = progress.epoch + 1, 0
        self.meter.reset()
        if progress.masks_frozen:
            self.keep_best(accuracies)
        if plan.attack and plan.judged_under and plan.attack.entry.single_step and "adv" in task.views:
            watch_overfitting(task, progress, accuracies[RAW], statistics, plan.judged_under.entry)
        record = {"schema": LOG_SCHEMA, "epoch": progress.epoch, **in_per_cent(statistics)}
        for kind, accuracy in accuracies.items():
            record |= {f"TA{kind}": accuracy["CA"], f"ATA{kind}": accuracy["AdvA"]}
        if task.search:
            record["mask_distance"] = 100 * self.move_masks(task.search)
        if self.sparse and progress.epoch < plan.optimisation.epochs:
            record["weights_moved"] = 100 * self.move_weights(self.sparse)
        record["seconds"] = self.epoch_s = perf_counter() - started
        self.run.log_epoch(Epoch(**record))
        self.save_progress()
        say(task.processes, summary(record, plan.optimisation.epochs, plan.images.select_on))

    def train(self) -> dict[str, float]:
        """What is left of the epoch's steps; their figures."""
        progress, epochs = self.progress, self.plan.optimisation.epochs
        self.batches.set_epoch(progress.epoch, progress.step)
        statistics = train_one_epoch(
            self.update,
            self.loaders.train,
            self.schedule,
            epoch=progress.epoch,
            first_step=progress.step,
            steps=self.steps,
            print_every=self.plan.run.print_freq,
            stop_after=self.stop_after,
            description=f"epoch {progress.epoch + 1}/{epochs}",
            clock=Clock(epochs - progress.epoch - 1, self.epoch_s),
        )
        if statistics is None:
            step = f"step {progress.step} of epoch {progress.epoch + 1}"
            raise Stopped(f"stopped after {step}; go on with --resume auto")
        return statistics

    def stop_after(self, step: int) -> bool:
        """Save after `step` where it is time to; whether to stop there."""
        stopping = self.stop.requested()
        if stopping or step == self.steps or step % self.plan.run.save_freq == 0:
            self.meter.means()  # raises where the loss is not finite: such weights must not replace good ones
            if not self.plan.optimisation.sync_bn:
                for network in self.networks.values():
                    broadcast_statistics(network)
            self.progress.step = step
            self.save_progress()
        return stopping

    def keep_best(self, accuracies: dict[str, dict]) -> None:
        for kind, accuracy in accuracies.items():

            def best(kind: str = kind, accuracy: dict = accuracy) -> Checkpoint:
                described = self.described(self.networks[kind])
                return Checkpoint(**described, metrics=Accuracy(**accuracy), averaged=kind == AVERAGED)

            every = self.plan.images.select_on == "last"
            keep_best(self.task, self.run, self.progress, accuracy, best, kind=kind, every=every)

    def move_masks(self, search: MaskSearch) -> float:
        """New masks from what the epoch showed; the share of positions that changed."""
        moved = search.end_epoch()
        if moved.settled:
            search.harden()
            if remark := search.chooser.remark(self.task.student):
                say(self.task.processes, f"note: {remark}")
        self.progress.masks_frozen = moved.settled
        self.update.masks_changed()
        return moved.distance

    def move_weights(self, sparse: SparseMomentum) -> float:
        """Sparse weights to where the epoch has shown a need of them; the share of them that is elsewhere now."""
        moved = sparse.end_epoch(self.progress.epoch, self.plan.optimisation.epochs)
        if self.average:
            sparse.zero_dropped(self.average.network)
        return moved

    def described(self, network: Network) -> dict:
        """The fields of every checkpoint of the run."""
        identity = self.plan.identity
        if self.plan.search and self.progress.masks_frozen:  # a search, or whole channels, may have shared otherwise
            kept = tuple(site.kept for site in relu_sites(network).values())
            identity["budget"] = identity["budget"].model_copy(update={"layers": kept})
        return {
            **describe_model(self.plan.model, network),
            **identity,
            "args": dict(self.plan.record),
            "epoch": self.progress.epoch,
            "trained_branches": tuple(trained_branches(self.task)),
        }

    def save_progress(self) -> None:
        self.progress.seconds = perf_counter() - self.started
        search = self.task.search
        # Sums are over all processes, so every process must take part; the file is the main one's.
        sums = {"meter": self.meter.state_dict(), "search": search.state_dict() if search else None}
        if self.task.processes.is_main:
            state = {"progress": asdict(self.progress), "optimizer": self.optimizer.state_dict(), **sums}
            state["inputs"] = dict(self.plan.inputs)
            state |= {"average": self.average.state_dict()} if self.average else {}
            self.run.save(self.run.last, RunState(**self.described(self.task.student), **tensors_to_cpu(state)))
