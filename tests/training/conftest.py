"""Commands of the three stages that can be settled: `stage1` and `stage2` begin with `teacher`, of two branches."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.plans import STUDENT, save_network


@pytest.fixture
def teacher(network, tmp_path) -> Path:
    return save_network(tmp_path / "teacher.pth", network(branches=2))


@pytest.fixture
def stage1(teacher) -> str:
    return f"train_student_stage1_multigpu.py --path_t {teacher} {STUDENT} --relu_budget 9000"


@pytest.fixture
def stage2(teacher, network, tmp_path) -> str:
    budget = {"label": "relu1k", "layers": [100] * 7}
    student = save_network(tmp_path / "student.pth", network(branches=2), stage=1, budget=budget, tag="rslad+ce")
    return f"train_student_stage2_multigpu.py --path_t {teacher} --path_s_load {student} {STUDENT} --dense"
