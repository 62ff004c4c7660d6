"""How things stand on a GPU, in two minutes and one table: make check-gpu, or

    python -m benchmarks.check_gpu

First the tests that need one. Then bench_train's ladder on a short run of stage 1 (ResNet18, batches of 128, PGD-7,
teacher and mask search). The last row holds the step recorded as a CUDA graph against the same step kernel by kernel:
how far their mean losses over the same steps lie apart, and how many times as fast the recorded one is. Ends with
status 2 where a test fails, a step cannot be recorded, or those losses differ by more than 2 %.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import torch

from benchmarks import bench_train
from benchmarks.frame import describe_machine
from benchmarks.training_ladder import LADDER, Bench, make_batches
from helper import command_line
from helper.errors import UserError
from helper.processes import start_processes
from helper.text import table

STAGE = 1
SHORT = f"--model ResNet18 --batch_size 128 --stages {STAGE} --repeats 10 --device cuda"
HEAD = ["", "outcome", "images/s", "times", "peak GB"]
PLAIN, RECORDED, APART = "bf16", "graphs", 0.02


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    return command_line.Parser(__doc__).parse_args(argv)


def run_tests() -> tuple[bool, str]:
    """Whether the tests that need a GPU pass, and pytest's last line on them. What fails is printed."""
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    ended = subprocess.run(words, cwd=Path(__file__).parent.parent, capture_output=True, text=True, check=False)
    passed = ended.returncode == 0
    if not passed:
        print(ended.stdout, ended.stderr, sep="\n")
    lines = ended.stdout.strip().splitlines() or ["pytest said nothing"]
    return passed, lines[-1].partition(" in ")[0]


def ladder_rows(figures: Mapping[str, dict]) -> list[list[str]]:
    """A row for every line of the ladder, by its name; the last one compares the recorded step with the plain one."""
    rows = []
    for name, found in figures.items():
        peak = "-" if found["peak_bytes"] is None else f"{found['peak_bytes'] / 1e9:.2f}"
        outcome = f"loss {found['loss']:.4f}"
        rows.append([name, outcome, f"{found['images_per_second']:,.0f}", f"{found['times_reference']:.2f}", peak])
    gain = figures[PLAIN]["ms_per_step"] / figures[RECORDED]["ms_per_step"]
    rows.append([f"{RECORDED} against {PLAIN}", f"mean loss {apart(figures):.2%} apart", "", f"{gain:.2f}", ""])
    return rows


def apart(figures: Mapping[str, dict]) -> float:
    """How far the recorded step's mean loss lies from that of as many plain steps, as a share of it."""
    plain = figures[PLAIN]["mean_loss"]
    return abs(figures[RECORDED]["mean_loss"] - plain) / abs(plain)


def main(args: argparse.Namespace) -> None:
    if not torch.cuda.is_available():
        raise UserError("no CUDA device is visible: there is nothing to check here")
    processes = start_processes("cuda")
    describe_machine(processes.device)
    passed, said = run_tests()
    rows, wrong = [HEAD, ["tests", said, "", "", ""]], [] if passed else ["tests fail"]
    try:
        settings = bench_train.parse_args(SHORT.split())
        rates = bench_train.matrix_rates(settings.repeats, perf_counter, processes.device)
        sizes = {"model": settings.model, "kept": settings.kept, "steps": settings.steps}
        bench = Bench(STAGE, processes, make_batches(settings.batch_size, processes), **sizes)
        figures = bench_train.measure_stage(bench, settings.batch_size, settings.repeats, perf_counter, LADDER, rates)
        rows += ladder_rows(figures)
        if apart(figures) > APART:
            wrong.append("the recorded step is not the plain one")
    except (UserError, AssertionError) as error:  # a step that cannot be recorded; a line with another loss
        wrong.append(str(error))
    print(f"\n{table(rows)}")
    if wrong:
        raise UserError("; ".join(wrong))


if __name__ == "__main__":
    run_script(main, parse_args)
