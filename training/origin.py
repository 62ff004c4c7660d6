"""What a student comes from: its teacher, in stage 2 also the student of stage 1; and whether the options agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataset import DatasetSpec
from distiller_zoo.modes import TEACHER
from formats.checkpoint import Description
from helper.checkpoint import find_checkpoint, read_checkpoint
from helper.errors import UserError
from masks.allocation import allocate_budget, as_profile, budget_from_fractions, layer_sensitivities, total_of
from models import STUDENTS, architecture_of
from models.branches import branch_of
from models.foreign import load_teacher
from models.layers import Network
from models.restore import checkpoint_data
from sensitivity import load_budget
from training.naming import budget_label
from training.objective import Objective
from training.plan import Budget, model_spec


@dataclass(frozen=True)
class Origin:
    """Checkpoints of the teacher and, in stage 2, of the student; the data set is the teacher's."""

    data: DatasetSpec
    teacher_file: Path
    teacher: Description
    student: Description | None = None


def find_origin(
    student: str | None,
    dataset: str | None,
    branches: int,
    teacher_file: Path,
    student_file: Path | None = None,
    teacher_images: str | None = None,
) -> Origin:
    """`dataset`: --dataset, None for that of the teacher. `teacher_images`: as for `load_teacher`. Raises UserError
    where a checkpoint says otherwise than the options, or is of a stage that has no place here.
    """
    if student is None:
        raise UserError(f"{student_file or teacher_file} does not say which network it is of; add --model_s")
    if student not in STUDENTS:
        raise UserError(f"--model_s {student} is no student; known are {', '.join(STUDENTS)}")
    data = checkpoint_data(find_checkpoint(teacher_file), teacher_file, dataset)
    _, teacher = load_teacher(teacher_file, model_spec(data, branches), student, teacher_images)
    if teacher.stage:
        raise UserError(f"--path_t {teacher_file} is of stage {teacher.stage}; a teacher comes from train_teacher.py")
    # a teacher may have other branches than the student: it answers about each view through its own one for that
    check_checkpoint(teacher, teacher_file, dataset=data.name, branches=None, student=student)
    if student_file is None:
        return Origin(data, teacher_file, teacher)
    found = read_checkpoint(student_file)
    if not found.stage:
        raise UserError(f"--path_s_load {student_file} is of stage {found.stage}; a student comes from stage 1")
    if found.budget is None or found.tag is None:
        raise UserError(f"--path_s_load {student_file} does not say its budget and tag, as stage 1 writes them")
    check_checkpoint(found, student_file, dataset=data.name, branches=branches, student=student)
    return Origin(data, teacher_file, teacher, found)


def check_checkpoint(checkpoint: Description, path: Path, *, dataset: str, branches: int | None, student: str) -> None:
    """Raise UserError, naming both values, where the options say another data set, branches or model than `path`.

    `branches`: None where any number will do.
    """
    found = [
        ("--dataset", dataset, checkpoint.dataset or dataset),
        ("--model_s", architecture_of(student), architecture_of(checkpoint.model.name)),
    ]
    if branches is not None:
        option = f"--use{branches}BN" if branches > 1 else "without --use2BN or --use3BN:"
        found.append((option, _branches(branches), _branches(checkpoint.model.branches)))
    for option, value, other in found:
        if value != other:
            raise UserError(f"{option} {value} contradicts {path}, which has {other}")


def _branches(count: int) -> str:
    return "1 batch-norm branch" if count == 1 else f"{count} batch-norm branches"


def check_answers(objective: Objective, origin: Origin) -> None:
    """Raise UserError where the objective asks the teacher through a branch that was never trained."""
    asked = {term.view for term in objective.terms if term.target == TEACHER}
    for view in sorted(asked):
        branch = branch_of(view, origin.teacher.model.branches)
        if branch not in origin.teacher.trained_branches:
            raise UserError(
                f"the objective asks the teacher about the {view} view, and {origin.teacher_file} never trained its "
                f"branch {branch}, which that view takes; train a teacher with that view, or choose another mode"
            )


def share_out(
    student: str,
    network: Network,
    named: str | None,
    count: int | str | None,
    available: Sequence[int] | None = None,
    measured: str | None = None,
) -> Budget:
    """The budget of --sensitivity `named`, or --relu_budget `count` by the profile of the student's architecture.

    `measured`: a file of sensitivities, to go by in its place. `available`: what the layers have left to share out.
    Raises UserError for one that does not fit the network.
    """
    if named is not None:
        found = load_budget(named)
        layers = budget_from_fractions(network, found.fractions, f"--sensitivity {named}", available)
        return Budget(found.label, tuple(layers))
    profile = layer_sensitivities(architecture_of(student), network, measured)
    profile = as_profile(profile) if measured else profile
    assert count is not None  # the command line asks for one of the two
    total = total_of(count, network)
    return Budget(budget_label(total), tuple(allocate_budget(network, total, profile, available)))
