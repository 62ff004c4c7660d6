"""One training step for every mode, stage and number of branches; one epoch of them; and the evaluation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn
from tqdm import tqdm

from distiller_zoo.modes import LABELS, OWN_CLEAN, TEACHER, TEACHER_CLEAN, Term
from helper.attack import AttackSettings, attack_mode, cross_entropy_per_image, sample_noise
from helper.distributed import Processes, sum_over_processes
from helper.errors import UserError
from helper.meter import EpochMeter
from helper.objective import Objective, Output
from helper.relu_mask import FeatureDifferenceSearch, site_maps
from helper.views import View, branch_of, forward_views, plan_views
from models.layers import Network, use_branch


@dataclass
class Task:
    """What is trained, and how. `parallel` maps images to the student's (logits, features), averaging gradients.

    `search`, where there is one, watches the maps of the student and its teacher.
    """

    processes: Processes
    student: Network
    parallel: nn.Module
    objective: Objective
    attack: AttackSettings | None = None
    teacher: Network | None = None
    search: FeatureDifferenceSearch | None = None
    seed: int = 0

    @property
    def branches(self) -> int:
        return self.student.spec.branches

    @property
    def views(self) -> tuple[str, ...]:
        return self.objective.views


class TeacherAnswers:
    """The teacher's outputs of one step, each computed once: clean and aug before the attack, adv after it."""

    def __init__(self, task: Task, plan: dict[str, View], images: dict[str, Tensor]):
        self.task, self.plan = task, plan
        self.outputs: dict[str, Output] = {}
        self.maps: dict[str, Tensor] = {}
        objective, search = task.objective, task.search
        needed = {view for view in plan if objective.uses(TEACHER_CLEAN, view)}
        if objective.uses(TEACHER, "clean") or (search and search.view == "clean"):
            needed.add("clean")
        if objective.attack_target == TEACHER_CLEAN:
            needed.add("adv")
        requests = {}
        if needed:
            rows = [plan[view].rows for view in needed]
            self.clean_rows = slice(min(part.start for part in rows), max(part.stop for part in rows))
            requests["clean"] = (images["clean"][self.clean_rows], branch_of("clean", task.branches))
        if objective.uses(TEACHER, "aug"):
            requests["aug"] = (images["aug"][plan["aug"].rows], plan["aug"].branch)
        self._ask(requests)

    def see_adversarial(self, x_adv: Tensor) -> None:
        if self.task.objective.uses(TEACHER, "adv") or (self.task.search and self.task.search.view == "adv"):
            self._ask({"adv": (x_adv, self.plan["adv"].branch)})

    @torch.no_grad()
    def _ask(self, requests: dict[str, tuple[Tensor, int]]) -> None:
        if not requests:
            return
        search = self.task.search
        with site_maps(self.task.teacher) if search else nullcontext({}) as maps:
            answers = forward_views(self.task.teacher.forward_features, self.task.teacher, list(requests.values()))
        self.outputs.update(zip(requests, answers, strict=True))
        if search and search.view in requests:
            # "clean" comes first in a request, so its rows start where its images do.
            start = self.plan["clean"].rows.start - self.clean_rows.start if search.view == "clean" else 0
            size = self.plan[search.view].size
            self.maps = {name: map_[start : start + size] for name, map_ in maps.items()}

    def on(self, view: str) -> Output:
        """The teacher on the very images of a view."""
        return self.on_clean(self.plan["clean"].rows) if view == "clean" else self.outputs[view]

    def on_clean(self, rows: slice) -> Output:
        """The teacher on the clean images of these rows of the batch."""
        start = self.clean_rows.start
        return self.outputs["clean"].rows(slice(rows.start - start, rows.stop - start))


def attack_images(task: Task, view: View, clean: Tensor, batch: dict[str, Tensor], epoch: int, answers) -> Tensor:
    """The adversarial view (rows of `view`) by the objective's own attack, in the branch that is trained with it."""
    x, indices = clean[view.rows], batch["index"][view.rows]
    if task.objective.attack_target == LABELS:
        target = batch["label"][view.rows]
    elif task.objective.attack_target == TEACHER_CLEAN:
        target = answers.on_clean(view.rows).logits
    else:
        with attack_mode(task.student, branch_of("clean", task.branches)) as model, torch.no_grad():
            target = model(x)
    with attack_mode(task.student, view.branch) as model:
        return task.attack(
            model,
            x,
            target,
            loss=task.objective.attack_loss,
            random_start=lambda restart: sample_noise(indices, x.shape[1:], task.seed, epoch, restart),
        )


def training_loss(task: Task, batch: dict[str, Tensor], epoch: int, meter: EpochMeter) -> Tensor:
    """The objective on one batch: {'clean', ['aug'], 'label', 'index'}, images (B, 3, S, S) in [0, 1]."""
    plan = plan_views(task.views, task.branches, len(batch["label"]))
    images = {view: batch[view] for view in ("clean", "aug") if view in batch}
    answers = TeacherAnswers(task, plan, images) if task.teacher else None
    inputs = {view: (images[view][plan[view].rows], plan[view].branch) for view in plan if view != "adv"}
    if "adv" in plan:
        x_adv = attack_images(task, plan["adv"], images["clean"], batch, epoch, answers)
        inputs["adv"] = (x_adv, plan["adv"].branch)
        if answers:
            answers.see_adversarial(x_adv)
    own_clean = "clean"
    if task.objective.uses(OWN_CLEAN) and plan["adv"].rows != plan["clean"].rows:
        # TRADES compares an attacked image with its own original, which here is not among the clean rows.
        own_clean = "original"
        inputs["original"] = (images["clean"][plan["adv"].rows], plan["clean"].branch)

    search = task.search
    with site_maps(task.student, before_relu=search.before_relu) if search else nullcontext() as maps:
        outputs = dict(zip(inputs, forward_views(task.parallel, task.student, list(inputs.values())), strict=True))
    if search:
        before = list(inputs)[: list(inputs).index(search.view)]
        start = sum(plan[view].size for view in before)
        rows = slice(start, start + plan[search.view].size)
        search.observe(answers.maps, {name: map_[rows] for name, map_ in maps.items()})

    def target(term: Term) -> Tensor | Output:
        if term.target == LABELS:
            return batch["label"][plan[term.view].rows]
        if term.target == TEACHER:
            return answers.on(term.view)
        if term.target == TEACHER_CLEAN:
            return answers.on_clean(plan[term.view].rows)
        return outputs[own_clean]

    loss, terms = task.objective(outputs, target)
    meter.watch({**terms, "loss": loss})
    for name, value in {"loss": loss, **terms}.items():
        meter.add(name, value)
    for view, part in plan.items():
        correct = (outputs[view].logits.detach().argmax(1) == batch["label"][part.rows]).sum()
        meter.add(f"accuracy_{view}", correct, part.size)
    return loss


def train_one_epoch(
    task: Task,
    loader: Iterable[dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[float], float],
    meter: EpochMeter,
    *,
    epoch: int,
    first_step: int,
    steps: int,
    print_every: int,
    stop_after: Callable[[int], bool],
    description: str,
) -> dict[str, float] | None:
    """The epoch's means: loss, every term, accuracy per view, images/s. None where `stop_after(step)` said to stop.

    `loader` gives the batches from `first_step` on, `steps` is the whole epoch's number of them.
    """
    task.student.train()
    started, seen = perf_counter(), 0
    rate = schedule(epoch + max(first_step - 1, 0) / steps)
    with tqdm(total=steps, initial=first_step, desc=description, unit="batch", **bar_options(task.processes)) as bar:
        for step, batch in enumerate(to_device(loader, task.processes.device), start=first_step + 1):
            rate = schedule(epoch + (step - 1) / steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = training_loss(task, batch, epoch, meter)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            seen += len(batch["label"]) * task.processes.count
            if step % print_every == 0 or step == steps:
                shown = {
                    name: value for name, value in meter.means().items() if not name.startswith(("ce", "kl", "at_"))
                }
                bar.set_postfix({**shown, "images/s": seen / (perf_counter() - started)}, refresh=False)
            bar.update()
            if stop_after(step):
                return None
    return {**meter.means(), "learning_rate": rate, "images_per_second": seen / (perf_counter() - started)}


def evaluate(
    model: Network,
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

    Float32 with TF32 off, for low precision flatters robustness. Every branch is attacked through itself.
    """
    was_training = model.training
    model.eval()
    device = processes.device
    correct = {("CA", branch): torch.zeros((), dtype=torch.int64, device=device) for branch in clean_branches}
    if attack:
        correct |= {("AdvA", branch): torch.zeros((), dtype=torch.int64, device=device) for branch in attack_branches}
    images = torch.zeros((), dtype=torch.int64, device=device)
    with full_precision(), tqdm(loader, desc=description, unit="batch", **bar_options(processes)) as bar:
        for batch in to_device(bar, device):
            x, labels = batch["clean"], batch["label"]
            images += len(labels)
            for (metric, branch), hits in correct.items():
                hits += correct_predictions(
                    model, branch, x, labels, attack if metric == "AdvA" else None, batch["index"], seed
                )
    model.train(was_training)
    images, *hits = (int(value) for value in sum_over_processes([images, *correct.values()]))
    if not images:
        raise UserError("there is not one image to evaluate on")
    result = {"images": images, "CA": {}, "AdvA": {}}
    for (metric, branch), hit in zip(correct, hits, strict=True):
        result[metric][str(branch)] = 100 * hit / images
    return result


def correct_predictions(
    model: Network, branch: int, x: Tensor, labels: Tensor, attack: AttackSettings | None, indices: Tensor, seed: int
) -> Tensor:
    """How many of x (B, 3, S, S) the branch gets right, after an attack through it where one is given."""
    if attack:
        with attack_mode(model, branch):
            x = attack(
                model,
                x,
                labels,
                loss=cross_entropy_per_image,
                random_start=lambda restart: sample_noise(indices, x.shape[1:], seed, restart),
            )
    with torch.no_grad(), use_branch(model, branch):
        return (model(x).argmax(1) == labels).sum()


@contextmanager
def full_precision() -> Iterator[None]:
    """TF32 off within the context."""
    backends = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def place_model(model: Network, device: torch.device) -> Network:
    """On its device, channels last: that makes a PGD step of resnet20 1.25 times as fast on a CPU."""
    return model.to(device, memory_format=torch.channels_last)


def to_device(batches: Iterable[dict[str, Tensor]], device: torch.device) -> Iterator[dict[str, Tensor]]:
    for batch in batches:
        yield {
            name: value.to(
                device,
                non_blocking=True,
                memory_format=torch.channels_last if value.dim() == 4 else torch.preserve_format,
            )
            for name, value in batch.items()
        }


def bar_options(processes: Processes) -> dict:
    """A bar for the main process only; where nobody watches (a log file), a line every half minute."""
    return {"disable": not processes.is_main, "mininterval": 0.5 if sys.stderr.isatty() else 30, "leave": False}
