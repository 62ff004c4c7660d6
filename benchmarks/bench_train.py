"""Images a second, and TFLOP a second, of each stage's training step, and what every measure brings.

    python -m benchmarks.bench_train --model ResNet18 --batch_size 16 --stages 1
    python -m benchmarks.bench_train --device cuda --batch_size 512 --repeats 20 --out bench_train.json

A step is that of the published recipe: two batch-norm branches, AugMix view, PGD of --steps on half of the batch; with
a teacher and a mask of --kept ReLUs in stages 1 (rslad+ce, and the mask search) and 2 (rslad+attn+augattn+ce). Each
line of the ladder has the measures of those above it too:

    reference      benchmarks/plain_step.py: float32, a forward pass a view, gradients of all weights in the attack
    frozen         no gradients of weights in the attack
    one forward    training/step.py: the views in one pass; fused SGD; sums on the device
    channels_last  maps in the memory order (N, H, W, C)
    tf32           on a GPU: float32 multiplied as TF32
    bf16           --amp bf16
    graphs         on a GPU: --compile graphs
    data           making the batch, which the lines above get for nothing, is part of the step: crop, flip and AugMix
                   of images on the device, as --data_on device does it

Every line trains its own copy of one network. Its first step, whose loss must be the reference's, is counted (FLOP),
not timed; the next ones are its warm-up. Then the lines take turns. Figures are medians over --repeats, ratios those of
the medians. On a CPU with one thread, seconds are those that the thread computed, whatever else the machine had to do.
`share` is that of the rate at which the device multiplies large matrices, in bfloat16 from the line bf16 on, in TF32 or
float32 above. What the device cannot do is left out and named. `start-up` is the time from the call of train_teacher.py
until its first step begins, with images of --dataset loaded; with graphs until the first of them has run.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch

from benchmarks.frame import add_timing_options, describe_machine, write_figures
from benchmarks.training_ladder import LADDER, MODES, Bench, Line, make_batches
from benchmarks.turns import medians, speed_ratios, take_turns
from dataset import DATASETS
from helper import command_line
from helper.errors import UserError
from helper.precision import allow_tf32
from helper.processes import start_processes
from models import ARCHITECTURES

NAMES = {0: "teacher", 1: "stage 1", 2: "stage 2"}
# How far the first loss of a line may be from the reference's, relatively. A pixel whose gradient is all but 0 goes the
# other way where sums are rounded otherwise, and bfloat16 has 8 bits.
TOLERANCE = {"none": 0.01, "bf16": 0.1}

# Runs a script until its first step, or with graphs its first recorded one, and says how long that took.
START_UP = """
import os, runpy, sys
import torch
from training.graphs import WARM_UPS
from training.update import Update
step, calls = Update.__call__, []
def counted(update, *rest):
    calls.append(step(update, *rest) if update.recorded else None)
    if len(calls) > WARM_UPS or not update.recorded:
        if update.recorded:
            torch.cuda.synchronize()
        os._exit(77)
Update.__call__ = counted
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--model", choices=ARCHITECTURES, default="ResNet18", help="the teacher (default: ResNet18)")
    parser.add_argument("--stages", type=int, nargs="+", choices=MODES, default=list(MODES), help="default: 0 1 2")
    parser.add_argument(
        "--kept", type=command_line.pixels, default=0.15, help="share of the student's ReLUs (default: 0.15)"
    )
    parser.add_argument("--batch_size", type=command_line.positive, default=128, help="default: 128")
    parser.add_argument("--steps", type=command_line.positive, default=7, help="of PGD (default: 7)")
    parser.add_argument("--dataset", choices=DATASETS, default="digits", help="of the start-up (default: digits)")
    parser.add_argument("--data_root", default="data", metavar="DIR", help="where it lies (default: data)")
    add_timing_options(parser, device="auto")
    return parser.parse_args(argv)


Clock = Callable[[], float]


def clock_of(threads: int, device: torch.device) -> Clock:
    """A single thread's own time on a CPU, which other work on the machine does not lengthen; else the wall's."""
    return process_time if device.type == "cpu" and threads == 1 else perf_counter


def matrix_rates(repeats: int, clock: Clock, device: torch.device) -> dict[str, float]:
    """FLOP/s of multiplying two square matrices, by what they are multiplied in."""
    size = 8192 if device.type == "cuda" else 1024
    ways = {"float32": (torch.float32, False), "bf16": (torch.bfloat16, False)}
    if device.type == "cuda":
        ways["tf32"] = (torch.float32, True)

    def multiply(dtype: torch.dtype, tf32: bool):
        matrix = torch.randn(size, size, device=device).to(dtype)

        def call() -> None:
            with allow_tf32(tf32):
                for _ in range(10):
                    matrix @ matrix

        return call

    seconds = take_turns({name: multiply(*way) for name, way in ways.items()}, repeats, device, clock=clock)
    return {name: 10 * 2 * size**3 / value for name, value in medians(seconds).items()}


def multiplied_in(line: Line, on_gpu: bool) -> str:
    return "bf16" if line.amp == "bf16" else "tf32" if line.tf32 and on_gpu else "float32"


def check_losses(figures: Mapping[str, dict]) -> None:
    """Raise AssertionError where a line's first loss is not the reference's."""
    want = figures["reference"]["loss"]
    for line in LADDER:
        if line.name in figures:
            got, tolerance = figures[line.name]["loss"], TOLERANCE[line.amp]
            assert abs(got - want) <= tolerance * abs(want), f"{line.name}: loss {got}, the reference's is {want}"


def measure_stage(
    bench: Bench, batch_size: int, repeats: int, clock: Clock, lines: list[Line], rates: Mapping[str, float]
) -> dict[str, dict]:
    """Figures of every line, by its name."""
    device = bench.processes.device
    contestants = {line.name: bench.enter(line) for line in lines}
    figures = {name: contestant.figures for name, contestant in contestants.items()}
    check_losses(figures)
    seconds = take_turns(contestants, repeats, device, clock=clock)
    middle = medians(seconds)
    ratios = speed_ratios(middle, "reference")
    for line in lines:
        found = figures[line.name]
        rate = found["flop"] / middle[line.name]
        found |= {
            "seconds": seconds[line.name],
            "ms_per_step": 1000 * middle[line.name],
            "images_per_second": batch_size / middle[line.name],
            "times_reference": ratios[line.name],
            "mean_loss": contestants[line.name].mean_loss(),
            "tflop_per_second": rate / 1e12,
            "share_of_matrix_rate": rate / rates[multiplied_in(line, device.type == "cuda")],
        }
    return figures


def print_stage(stage: int, figures: Mapping[str, dict]) -> None:
    print(f"\n{NAMES[stage]} ({MODES[stage]})")
    heads = ("images/s", "ms/step", "ratio", "GFLOP", "TFLOP/s", "share", "warm-up s", "peak GB", "1st loss")
    print(f"{'':14}" + "".join(f"{head:>10}" for head in heads))
    for name, found in figures.items():
        peak = "-" if found["peak_bytes"] is None else f"{found['peak_bytes'] / 1e9:.2f}"
        print(
            f"{name:14}{found['images_per_second']:10,.1f}{found['ms_per_step']:10,.1f}{found['times_reference']:10.2f}"
            f"{found['flop'] / 1e9:10,.1f}{found['tflop_per_second']:10.3f}{found['share_of_matrix_rate']:10.1%}"
            f"{found['warm_up_seconds']:10.1f}{peak:>10}{found['loss']:10.4f}"
        )


def start_up(model: str, dataset: str, data_root: str, *, batch_size: int, device: str) -> tuple[float, float]:
    """Seconds from the call of train_teacher.py until its first step: by the wall's clock, and of computing."""
    with TemporaryDirectory() as folder:
        command = f"train_teacher.py --model {model} --dataset {dataset} --no_download --device {device} "
        command += f"--batch_size {batch_size} --augment_mode augmix --attack_mode pgd --use2BN --amp none"
        words = [*command.split(), "--data_root", data_root, "--save_dir", folder]
        # No pipes: a loader's workers hold them open for seconds after the process that they work for.
        with open(Path(folder, "stderr"), "w+") as errors:
            started, computed = perf_counter(), children_seconds()
            ended = subprocess.run(
                [sys.executable, "-c", START_UP, *words],
                cwd=Path(__file__).parent.parent,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                check=False,
            )
            taken = perf_counter() - started, children_seconds() - computed
            errors.seek(0)
            said = errors.read().strip().splitlines()
    if ended.returncode != 77:
        raise UserError(f"start-up: {said[-1] if said else 'ended without a word'}")
    return taken


def children_seconds() -> float:
    used = os.times()
    return used.children_user + used.children_system


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    processes = start_processes(args.device)
    on_gpu = processes.device.type == "cuda"
    machine = describe_machine(processes.device)
    lines = [line for line in LADDER if on_gpu or not line.needs_gpu]
    if left_out := [line.name for line in LADDER if line not in lines]:
        print(f"left out, for they need a GPU: {', '.join(left_out)}")
    clock = clock_of(args.threads, processes.device)
    rates = matrix_rates(args.repeats, clock, processes.device)
    print("matrices, TFLOP/s: " + ", ".join(f"{name} {rate / 1e12:.3f}" for name, rate in rates.items()))
    print(f"{args.model}, batches of {args.batch_size}, PGD-{args.steps}, medians of {args.repeats}")
    stages = {}
    for stage in args.stages:
        batches = make_batches(args.batch_size, processes)
        bench = Bench(stage, processes, batches, model=args.model, kept=args.kept, steps=args.steps)
        stages[NAMES[stage]] = measure_stage(bench, args.batch_size, args.repeats, clock, lines, rates)
        print_stage(stage, stages[NAMES[stage]])
    begin = partial(start_up, args.model, args.dataset, args.data_root, batch_size=args.batch_size, device=args.device)
    started, computed = map(median, zip(*(begin() for _ in range(min(args.repeats, 3))), strict=True))
    print(f"\nstart-up (train_teacher.py, {args.dataset}): {started:.1f} s, {computed:.1f} s of them computing")
    figures = {"matrix_flop_per_second": rates, "left_out": left_out, "stages": stages}
    start = {"start_up_seconds": started, "start_up_computing_seconds": computed}
    write_figures(vars(args), machine, figures | start)


if __name__ == "__main__":
    run_script(main, parse_args)
