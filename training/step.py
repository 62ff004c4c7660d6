"""One training step for every mode, stage and number of branches: teacher, attack, one forward pass, the loss."""

from __future__ import annotations

from collections import defaultdict
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from attacks.ascent import sample_noise
from attacks.attack import AttackSettings
from attacks.mode import attack_mode
from distiller_zoo.modes import LABELS, OWN_CLEAN, TEACHER, TEACHER_CLEAN, Term
from helper.precision import at_least_float32
from helper.processes import Processes
from masks.search import MaskSearch, SearchStep
from masks.watching import watch_sites
from models.branches import View, branch_of, plan_views
from models.layers import Network
from training.acceleration import Acceleration
from training.forward import forward_views
from training.meter import EpochMeter
from training.objective import Objective, Output


@dataclass
class Task:
    """What is trained, and how. `parallel` maps images to the student's (logits, features), averaging gradients.

    `search`, where there is one, finds the student's masks meanwhile.
    """

    processes: Processes
    student: Network
    parallel: nn.Module
    objective: Objective
    attack: AttackSettings | None = None
    teacher: Network | None = None
    search: MaskSearch | None = None
    seed: int = 0
    acceleration: Acceleration = field(default_factory=Acceleration)

    @property
    def branches(self) -> int:
        return self.student.spec.branches

    @property
    def views(self) -> tuple[str, ...]:
        return self.objective.views


class TeacherAnswers:
    """The teacher's outputs of one step, each computed once: clean and aug before the attack, adv after it.

    Without a teacher there are none, and nobody asks for them.
    """

    def __init__(self, task: Task, plan: dict[str, View], images: dict[str, Tensor]):
        self.task, self.plan = task, plan
        self.branches = task.teacher.spec.branches if task.teacher else task.branches  # the student may have more
        self.outputs: dict[str, Output] = {}
        # view -> site -> post-ReLU map, of the views that the mask search compares
        self.maps: dict[str, dict[str, Tensor]] = defaultdict(dict)
        self.searched = task.search.views if task.search else ()
        objective = task.objective
        needed = {view for view in plan if objective.uses(TEACHER_CLEAN, view)}
        if objective.uses(TEACHER, "clean") or "clean" in self.searched:
            needed.add("clean")
        if objective.attack_target == TEACHER_CLEAN:
            needed.add("adv")
        requests = {}
        if needed:
            rows = [plan[view].rows for view in needed]
            self.clean_rows = slice(min(part.start for part in rows), max(part.stop for part in rows))
            requests["clean"] = (images["clean"][self.clean_rows], branch_of("clean", self.branches))
        if objective.uses(TEACHER, "aug") or "aug" in self.searched:
            requests["aug"] = (images["aug"][plan["aug"].rows], branch_of("aug", self.branches))
        self._ask(requests)

    def see_adversarial(self, x_adv: Tensor) -> None:
        if self.task.objective.uses(TEACHER, "adv") or "adv" in self.searched:
            self._ask({"adv": (x_adv, branch_of("adv", self.branches))})

    @torch.no_grad()
    def _ask(self, requests: dict[str, tuple[Tensor, int]]) -> None:
        teacher = self.task.teacher
        if teacher is None or not requests:
            return
        searched = {view: self._rows_of(view, requests) for view in self.searched if view in requests}

        def keep(name: str, map_: Tensor) -> None:
            for view, rows in searched.items():
                # A copy, for a slice would keep the whole map in memory until the student's is there.
                self.maps[view][name] = map_[rows].clone()

        with watch_sites(teacher, keep) if searched else nullcontext(), self.task.acceleration.autocast():
            answers = forward_views(teacher.forward_features, teacher, list(requests.values()))
        self.outputs.update(zip(requests, answers, strict=True))

    def _rows_of(self, view: str, requests: dict[str, tuple[Tensor, int]]) -> slice:
        """The rows of a pass over all `requests` that a view takes: of "clean", more may be asked than its own."""
        views = list(requests)
        start = sum(len(requests[before][0]) for before in views[: views.index(view)])
        start += self.plan["clean"].rows.start - self.clean_rows.start if view == "clean" else 0
        return slice(start, start + self.plan[view].size)

    def on(self, view: str) -> Output:
        """The teacher on the very images of a view."""
        return self.on_clean(self.plan["clean"].rows) if view == "clean" else self.outputs[view]

    def on_clean(self, rows: slice) -> Output:
        """The teacher on the clean images of these rows of the batch."""
        start = self.clean_rows.start
        return self.outputs["clean"].rows(slice(rows.start - start, rows.stop - start))


def attack_images(
    task: Task, view: View, clean: Tensor, batch: dict[str, Tensor], epoch: int | Tensor, answers: TeacherAnswers
) -> Tensor:
    """The adversarial view (rows of `view`) by the objective's own attack, in the branch that is trained with it."""
    assert task.attack is not None  # the adversarial view is its
    x, indices = clean[view.rows], batch["index"][view.rows]
    if task.objective.attack_target == LABELS:
        target = batch["label"][view.rows]
    elif task.objective.attack_target == TEACHER_CLEAN:
        target = answers.on_clean(view.rows).logits
    else:
        clean_branch = branch_of("clean", task.branches)
        with attack_mode(task.student, clean_branch) as model, torch.no_grad(), task.acceleration.autocast():
            target = at_least_float32(model(x))
    with attack_mode(task.student, view.branch) as model, task.acceleration.logits_of(model) as logits:
        return task.attack(
            logits,
            x,
            target,
            loss=task.objective.attack_loss,
            random_start=lambda: sample_noise(indices, x.shape[1:], task.seed, epoch),
        )


def search_step(inputs: dict[str, tuple[Tensor, int]], answers: TeacherAnswers) -> SearchStep:
    """What the mask search may know of the student's pass over `inputs`, view -> (images, branch)."""
    rows, start = {}, 0
    for view, (images, _) in inputs.items():
        rows[view] = slice(start, start + len(images))
        start += len(images)
    return SearchStep(rows, answers.maps)


def training_loss(task: Task, batch: dict[str, Tensor], epoch: int | Tensor, meter: EpochMeter) -> Tensor:
    """The objective on one batch: {'clean', ['aug'], 'label', 'index'}, images (B, 3, S, S) in [0, 1].

    Never waits for the device. `epoch` may be an int64 scalar there.
    """
    plan = plan_views(task.views, task.branches, len(batch["label"]))
    images: dict[str, Tensor] = {view: batch[view] for view in ("clean", "aug") if view in batch}
    answers = TeacherAnswers(task, plan, images)
    inputs = {view: (images[view][plan[view].rows], plan[view].branch) for view in plan if view != "adv"}
    if "adv" in plan:
        x_adv = attack_images(task, plan["adv"], images["clean"], batch, epoch, answers)
        inputs["adv"] = (x_adv, plan["adv"].branch)
        answers.see_adversarial(x_adv)
    own_clean = "clean"
    if task.objective.uses(OWN_CLEAN) and plan["adv"].rows != plan["clean"].rows:
        # TRADES compares an attacked image with its own original, which here is not among the clean rows.
        own_clean = "original"
        inputs["original"] = (images["clean"][plan["adv"].rows], plan["clean"].branch)

    watched = task.search.watching(search_step(inputs, answers)) if task.search else nullcontext()
    with watched, task.acceleration.autocast():
        outputs = dict(zip(inputs, forward_views(task.parallel, task.student, list(inputs.values())), strict=True))

    def target(term: Term) -> Tensor | Output:
        if term.target == LABELS:
            return batch["label"][plan[term.view].rows]
        if term.target == TEACHER:
            return answers.on(term.view)
        if term.target == TEACHER_CLEAN:
            return answers.on_clean(plan[term.view].rows)
        return outputs[own_clean]

    loss, terms = task.objective(outputs, target)
    if task.search and (penalty := task.search.penalty()) is not None:
        loss = loss + penalty
    meter.watch({**terms, "loss": loss})
    for name, value in {"loss": loss, **terms}.items():
        meter.add(name, value)
    for view, part in plan.items():
        correct = (outputs[view].logits.detach().argmax(1) == batch["label"][part.rows]).sum()
        meter.add(f"accuracy_{view}", correct, part.size)
    return loss
