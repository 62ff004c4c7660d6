"""The comparison of budgets is commands that the scripts take, one a step."""

from __future__ import annotations

import importlib
import shlex

import pytest
from support.zoos import save_digits_network

from benchmarks import bench_budgets

ATTACKED = {"attack_mode": "nfgsm", "augment_mode": "none", "eps": 8 / 255, "step_size": 2 / 255, "steps": 1}


@pytest.mark.slow
def test_every_command_of_a_dry_run_is_parsed(tmp_path, capsys):
    teacher = save_digits_network(tmp_path / "run" / "teacher.pth", args=ATTACKED)
    words = f"--teacher {teacher} --save_dir {tmp_path} --measure --dry_run"
    bench_budgets.main(bench_budgets.parse_args(words.split()))
    commands = [shlex.split(line)[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("python ")]
    scripts = [script for script, *_ in commands]
    assert scripts.count("train_student_stage1_multigpu.py") == 2 * (3 * 2) + 2 + 3
    assert scripts.count("compute_sensitivity.py") == 2
    assert scripts[-1] == "measure_private_inference.py"
    loaded = []
    for script, *words in commands:
        stands_in = dict.fromkeys([word for word in words if word.endswith(".pth")], str(teacher))
        args = importlib.import_module(script.removesuffix(".py")).parse_args([stands_in.get(w, w) for w in words])
        loaded.append(args)
    seconds = [args.seconds_budget for args in loaded if getattr(args, "seconds_budget", None)]
    assert seconds == sorted(seconds, reverse=True)
    assert len(seconds) == 3
    assert len(loaded[-1].path) == 4  # the plain one, and those in seconds
