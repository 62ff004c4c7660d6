"""Cores are counted by affinity and by a container's quota, and torch's threads share them with other work."""

from __future__ import annotations

from helper.machine import available_cores, cgroup_cores, share_cores, visible_cores

import ast
import math
import os
import sys
from pathlib import Path

import pytest
from support.running import ROOT

from helper import machine

FILES = [file for folder in (ROOT, ROOT / "benchmarks") for file in folder.glob("*.py")]
SCRIPTS = [file for file in FILES if "__main__" in file.read_text()]


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/job/step", {"job/step/cpu.max": "max 100000", "job/cpu.max": "400000 100000"}, 4),
        ("0::/docker/outside", {"cpu.max": "200000 100000"}, 2),
        ("4:memory:/\n2:cpu,cpuacct:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("2:cpu,cpuacct:/a\n0::/", {"cpu/a/cpu.cfs_quota_us": "50000", "cpu/a/cpu.cfs_period_us": "100000"}, 0.5),
        ("3:cpuset:/\n0::/", {}, math.inf),
        (None, {}, math.inf),
    ],
)
def test_a_quota_of_either_version_and_of_any_level_is_read(tmp_path, membership, files, cores):
    own = tmp_path / "membership"
    if membership is not None:
        own.write_text(membership + "\n")
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    assert cgroup_cores(own, tmp_path / "cgroup") == cores


@pytest.mark.parametrize(("quota", "cores"), [(math.inf, 4), (9, 4), (2, 2), (1.5, 2), (0.2, 1)])
def test_the_smaller_of_affinity_and_quota_counts(monkeypatch, quota, cores):
    monkeypatch.setattr(machine, "visible_cores", lambda: 4)
    monkeypatch.setattr(machine, "cgroup_cores", lambda: quota)
    assert available_cores() == cores


PATIENT = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "3000"}


@pytest.mark.parametrize(
    ("given", "quota", "settled"),
    [
        ({}, 2, {"OMP_NUM_THREADS": "2", **PATIENT}),
        ({}, math.inf, PATIENT),
        ({"OMP_NUM_THREADS": "3"}, 2, {"OMP_NUM_THREADS": "3", **PATIENT}),
        ({"GOMP_SPINCOUNT": "7"}, math.inf, {**PATIENT, "GOMP_SPINCOUNT": "7"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, 2, {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_what_the_environment_says_wins(monkeypatch, given, quota, settled):
    monkeypatch.setattr(os, "environ", dict(given))
    monkeypatch.setattr(machine, "visible_cores", lambda: 4)
    monkeypatch.setattr(machine, "cgroup_cores", lambda: quota)
    share_cores()
    assert os.environ == settled


def test_this_process_has_a_core():
    assert 1 <= available_cores() <= visible_cores()


@pytest.mark.parametrize(
    "script", [file for file in SCRIPTS if "run_script(main" in file.read_text()], ids=lambda file: file.name
)
def test_cores_are_shared_before_a_script_loads_anything_of_others(script: Path):
    imported = []
    for node in ast.parse(script.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            imported.append(node.module)
        elif isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
    first = next(name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names)
    assert first in ("helper.machine", "helper.script")
