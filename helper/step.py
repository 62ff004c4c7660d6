"""One training step for every mode, stage and number of branches: teacher, attack, one forward pass, the loss."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distiller_zoo.modes import LABELS, OWN_CLEAN, TEACHER, TEACHER_CLEAN, Term
from helper.attack import AttackSettings, attack_mode, sample_noise
from helper.distributed import Processes
from helper.meter import EpochMeter
from helper.objective import Objective, Output
from helper.relu_mask import FeatureDifferenceSearch, site_maps
from helper.views import View, branch_of, forward_views, plan_views
from models.layers import Network


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
            random_start=lambda: sample_noise(indices, x.shape[1:], task.seed, epoch),
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
