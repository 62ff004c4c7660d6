"""How much each ReLU layer matters to a network: measured by doing without its ReLUs, or by what pruning leaves it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from functools import partial

import torch
from tqdm import tqdm

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.mode import attack_mode
from evaluation.measurements import Measurements
from formats.checkpoint import OptimizerRecord, PruningState
from formats.measurements import Densities, Losses
from helper.checkpoint import (
    check_first_step,
    fits_this_run,
    load_optimizer,
    read_pruning_state,
    save_checkpoint,
    tensors_to_cpu,
)
from helper.placement import to_device
from helper.precision import full_precision
from helper.processes import Processes, bar_options, on_main_process, sum_over_processes
from models import build_model
from models.branches import branch_of
from models.layers import Network, relu_sites
from models.restore import describe_model, load_weights
from sensitivity.pruning import GradualPruning
from training.data import Loaders
from training.epoch import train_one_epoch
from training.meter import EpochMeter
from training.sensitivity_plan import SensitivityPlan
from training.stage import prepare_parallel, prepare_teacher
from training.step import Task
from training.update import Update


class SensitivityStudy:
    """The planned measurement; `teacher` is None for a network that learns from labels alone."""

    def __init__(self, plan: SensitivityPlan, teacher: Network | None, loaders: Loaders, processes: Processes):
        self.plan, self.loaders, self.processes = plan, loaders, processes
        self.teacher = teacher and prepare_teacher(teacher, processes)

    def linearize(self, measured: Measurements) -> dict[str, dict[str, float]]:
        """{ReLU site: {'clean', 'adv', 'loss'}}: by how much held-out losses rise where that layer alone is linear.

        Both networks, that and the one with all ReLUs, begin as the teacher and have had the same fine-tuning. 'loss'
        is the mean over clean and, where the network was trained on them, adversarial images.
        """
        assert self.teacher is not None  # it is what loses its ReLUs
        take = partial(measured.take, "held-out loss", Losses)
        with self._bar(1 + len(relu_sites(self.teacher))) as bar:
            base = take(lambda: self._loss_without(None), layer="none", **self.plan.settings).by_view()
            bar.update()
            found = {}
            for name in relu_sites(self.teacher):
                bar.set_postfix_str(name, refresh=False)
                losses = take(partial(self._loss_without, name), layer=name, **self.plan.settings).by_view()
                rises = {view: losses[view] - base[view] for view in base}
                found[name] = rises | {"loss": sum(rises.values()) / len(rises)}
                bar.update()
        return found

    def prune(self, measured: Measurements) -> dict[str, dict[str, float]]:
        """{ReLU site: {'density'}}: the share of its weights that a layer keeps, where of all `plan.density` are."""
        densities = measured.take("densities", Densities, self._densities, **self.plan.settings)
        return {name: {"density": density} for name, density in densities.root.items()}

    def _bar(self, total: int) -> tqdm:
        return tqdm(total=total, desc="layers", unit="layer", **bar_options(self.processes) | {"delay": 0})

    def _loss_without(self, layer: str | None) -> dict[str, float]:
        assert self.teacher is not None
        task = self._task(deepcopy(self.teacher))
        if layer:
            site = relu_sites(task.student)[layer]
            site.set_mask(torch.zeros(site.map_shape, dtype=torch.bool))
        update = self._update(task)
        for epoch in range(self.plan.optimisation.epochs):
            self._epoch(update, epoch, f"without {layer}" if layer else "with all ReLUs", lambda step: None)
        return self._heldout_losses(task.student)

    def _densities(self) -> dict[str, float]:
        """Trained and pruned, from where the file of the last epoch stands."""
        torch.manual_seed(self.plan.seed)
        file, epochs = self.plan.folder / "pruning_last.pth", self.plan.optimisation.epochs
        student = build_model(self.plan.model, **asdict(self.plan.network))
        if self.teacher:
            student.load_state_dict(self.teacher.state_dict())
        task = self._task(student)
        kept = on_main_process(lambda: read_pruning_state(file) if file.exists() else None)
        kept = kept if kept and kept.settings == str(self.plan.settings) else None
        if kept:
            load_weights(student, kept.state_dict, file)
        update = self._update(task, kept.optimizer if kept else None)
        steps = len(self.loaders.train.batch_sampler)
        pruning = GradualPruning(student, self.plan.density, epochs * steps)

        def after(done: int, step: int) -> None:
            pruning.after_step(done + step)

        for epoch in range(kept.epoch if kept else 0, epochs):
            self._epoch(update, epoch, "pruning", partial(after, epoch * steps))
            if self.processes.is_main:
                state = tensors_to_cpu({"optimizer": update.optimizer.state_dict()})
                state |= {"epoch": epoch + 1, "settings": str(self.plan.settings)}
                save_checkpoint(file, PruningState(**describe_model(self.plan.model, student), **state))
        return pruning.densities()

    def _task(self, student: Network) -> Task:
        student.requires_grad_(True).train()
        parallel = prepare_parallel(student, self.plan.objective, self.processes, sync_bn=True)
        objective, attack = self.plan.objective, self.plan.attack
        return Task(self.processes, student, parallel, objective, attack, self.teacher, seed=self.plan.seed)

    def _update(self, task: Task, stored: OptimizerRecord | None = None) -> Update:
        torch.manual_seed(self.plan.seed)
        optimizer = self.plan.optimisation.optimizer(task.student, self.plan.seed)
        if stored:
            with fits_this_run(self.plan.folder):
                load_optimizer(optimizer, stored)
                check_first_step(optimizer, self.plan.folder)
        return Update(task, optimizer, EpochMeter(self.processes.device))

    def _epoch(self, update: Update, epoch: int, description: str, after_step: Callable[[int], None]) -> None:
        def never_stop(step: int) -> bool:
            after_step(step)
            return False

        batches = self.loaders.train.batch_sampler
        batches.set_epoch(epoch)
        train_one_epoch(
            update,
            self.loaders.train,
            self.plan.optimisation.schedule(),
            epoch=epoch,
            first_step=0,
            steps=len(batches),
            print_every=len(batches),
            stop_after=never_stop,
            description=description,
        )
        update.meter.reset()

    def _heldout_losses(self, network: Network) -> dict[str, float]:
        """{'clean', 'adv'}: mean cross-entropy of the held-out images, attacked ones where the plan has an attack."""
        attack, branches = self.plan.judged_under, network.spec.branches
        views = ["clean", *(["adv"] if attack else [])]
        sums, seen = torch.zeros(len(views), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        with full_precision():
            for batch in to_device(self.loaders.attacked_selection, self.processes.device):
                x, labels = batch["clean"], batch["label"]
                seen += len(labels)
                for place, view in enumerate(views):
                    with attack_mode(network, branch_of(view, branches)) as model:
                        if attack and view == "adv":
                            noise = partial(sample_noise, batch["index"], x.shape[1:], self.plan.seed, 0)
                            x = attack(model, x, labels, loss=cross_entropy_per_image, random_start=noise)
                        with torch.no_grad():
                            sums[place] += cross_entropy_per_image(model(x), labels).double().sum().cpu()
        sums, seen = sum_over_processes([sums, seen])
        return {view: float(total / seen) for view, total in zip(views, sums, strict=True)}
