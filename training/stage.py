"""What the training scripts share: networks made ready for training, and the way from a task to results."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from helper.placement import place_model
from helper.processes import Processes, on_main_process
from models.branches import branches_of
from models.foreign import load_teacher
from models.layers import BranchNorm2d, Network
from models.restore import load_model
from reporting.tables import results_table
from training.data import Loaders, training_loaders
from training.fit import Fit
from training.judging import test_checkpoints
from training.objective import Objective
from training.parallel import data_parallel, synchronise_batch_norm
from training.plan import Plan
from training.progress import say
from training.results import training_results
from training.run_folder import RunFolder
from training.step import Task
from training.words import closing, opening


def prepare_parallel(
    model: Network, objective: Objective, processes: Processes, *, sync_bn: bool, channels_last: bool = True
) -> nn.Module:
    """Move the student to its device and wrap it for training; branches that no view takes are not trained."""
    place_model(model, processes.device, channels_last=channels_last)
    used = branches_of(objective.views, model.spec.branches)
    for module in model.modules():
        if isinstance(module, BranchNorm2d):
            for branch, norm in enumerate(module.branches):
                norm.requires_grad_(branch in used)
    if sync_bn:
        synchronise_batch_norm(model)
    return data_parallel(model, processes)


def prepare_teacher(teacher: Network, processes: Processes, *, channels_last: bool = True) -> Network:
    return place_model(teacher, processes.device, channels_last=channels_last).requires_grad_(False).eval()


def planned_loaders(plan: Plan, processes: Processes) -> Loaders:
    return training_loaders(
        plan.data, plan.images, processes, plan.objective.views, seed=plan.seed, attacked=plan.attacked_images
    )


def planned_teacher(plan: Plan) -> Network:
    teacher, _ = load_teacher(plan.origin.teacher_file, plan.network, plan.model, plan.origin.teacher_images)
    return teacher


def planned_student(plan: Plan) -> Network:
    """That of stage 1, for stage 2."""
    assert plan.origin.student_file is not None
    student, _ = load_model(plan.origin.student_file)
    return student


def make_task(
    plan: Plan,
    processes: Processes,
    student: Network,
    teacher: Network | None = None,
) -> Task:
    """The planned training of `student`, which moves to its device, as does its `teacher`."""
    channels_last = plan.acceleration.channels_last
    parallel = prepare_parallel(
        student, plan.objective, processes, sync_bn=plan.optimisation.sync_bn, channels_last=channels_last
    )
    if teacher:
        prepare_teacher(teacher, processes, channels_last=channels_last)
    return Task(
        processes,
        student,
        parallel,
        plan.objective,
        plan.attack,
        teacher,
        seed=plan.seed,
        acceleration=plan.acceleration,
    )


def train_and_report(script: str, plan: Plan, task: Task, run: RunFolder, loaders: Loaders) -> None:
    """Train the task's student, measure the selected checkpoints on the test set, write and print the results."""
    # The main process's word: other machines need not see its files, and all must take the same way.
    if finished := on_main_process(lambda: run.finished_results(plan.optimisation.epochs)):
        best = finished.checkpoints[0].file if finished.checkpoints else ""
        say(task.processes, f"{results_table(finished)}\nthis run is finished\n{closing(plan, run, best)}")
        return
    say(task.processes, opening(plan, loaders, task.student, task.processes))
    progress = Fit(task, plan, run, loaders)()
    checkpoints = test_checkpoints(task, run, plan, progress, loaders)
    results = training_results(Path(script).name, plan, task, progress, checkpoints)
    run.write_results(results)
    say(task.processes, f"\n{results_table(results)}\n{closing(plan, run, checkpoints[0].file)}")
