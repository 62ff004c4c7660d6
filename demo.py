"""The three stages and the validation, one after the other, and one table of what teacher and student are worth.

    python demo.py                                       digits and resnet8: minutes on a CPU
    python demo.py --dataset cifar10 --model ResNet18    the published schedule: for a machine with a GPU

Every command is printed before it runs, so that it can be copied. What is finished is not done again: after an
interruption the same command goes on.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from dataset import dataset_spec
from dataset.corruptions import IMAGE_SIZES
from formats.results import Results
from helper import command_line
from helper.text import duration, percent, table
from masks.counting import relu_totals
from models import build_model, student_name
from reporting.next_steps import command
from reporting.results import read_results
from reporting.tables import METRICS

INTERRUPTED = 130
ROBUST = "--augment_mode augmix --attack_mode pgd --use2BN"
# Short one-cycle runs for the 1,442 digits; every other data set gets the scripts' own schedule. In float32 on any
# machine, for the figures are in the README.
ONE_CYCLE = "--lr_schedule onecycle --batch_size 64 --amp none"
SHORT = {
    "teacher": f"--epochs 12 --learning_rate 0.1 {ONE_CYCLE}",
    "stage1": f"--epochs 8 --learning_rate 0.05 {ONE_CYCLE} --init_student teacher",
    "stage2": f"--epochs 9 --learning_rate 0.05 {ONE_CYCLE}",
}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--dataset", default="digits", help="default: digits")
    parser.add_argument("--model", default="resnet8", help="the teacher (default: resnet8)")
    parser.add_argument(
        "--relu_share", type=command_line.share, default=0.15, help="ReLUs that the student keeps (default: 0.15)"
    )
    parser.add_argument("--data_root", default="data", help="default: data")
    parser.add_argument("--save_dir", default="save/demo", help="default: save/demo")
    return parser.parse_args(argv)


def run(script: str, *arguments: str) -> None:
    words = [script, *(word for argument in arguments for word in shlex.split(argument))]
    print(f"\n$ {command(*words)}", flush=True)
    child = subprocess.Popen([sys.executable, str(Path(__file__).with_name(script)), *words[1:]])
    try:
        status = child.wait()
    except KeyboardInterrupt:  # a terminal sends it to the child too, which says so and saves what it has
        status = child.wait() or INTERRUPTED
    if status:
        sys.exit(status)


def main(args: argparse.Namespace) -> None:
    started = perf_counter()
    data = dataset_spec(args.dataset)
    model = build_model(args.model, num_classes=data.num_classes, image_size=data.image_size)
    budget = round(args.relu_share * relu_totals(model)[1])
    student = student_name(args.model)
    recipe = SHORT if args.dataset == "digits" else dict.fromkeys(SHORT, "")
    save = Path(args.save_dir)
    common = f"--dataset {args.dataset} --data_root {shlex.quote(args.data_root)} --save_dir {shlex.quote(str(save))}"

    name = f"{args.model}_{data.name}"
    teacher = save / "models" / name / f"{args.model}_best_TA0.0.pth"
    searched = save / "student_model" / "stage1" / name / f"{student}_best_TA0.0.pth"
    finished = save / "student_model" / "stage2" / name / f"{student}_stage2_best_TA0.0.pth"
    quoted = {path: shlex.quote(str(path)) for path in (teacher, searched, finished)}
    again = f"--run_name {name} --resume auto"
    distill = f"{common} {ROBUST} {again} --model_s {student} --path_t {quoted[teacher]}"
    run("train_teacher.py", f"--model {args.model} {common} {ROBUST} {again}", recipe["teacher"])
    run(
        "train_student_stage1_multigpu.py",
        f"{distill} --relu_budget {budget} --distill kd --robust_train_mode rslad+ce",
        recipe["stage1"],
    )
    run(
        "train_student_stage2_multigpu.py",
        f"{distill} --path_s_load {quoted[searched]} --dense --distill attention",
        "--robust_train_mode rslad+attn+augattn+ce",
        recipe["stage2"],
    )
    corruptions = ""  # the published ones below --data_root
    if data.image_size in IMAGE_SIZES and not Path(args.data_root, data.corrupted_folder).is_dir():
        corrupted = shlex.quote(str(save / data.corrupted_folder))
        corruptions = f"--corruption_dir {corrupted}"
        run(
            "make_corruptions.py",
            f"--dataset {args.dataset} --data_root {shlex.quote(args.data_root)} --out {corrupted}",
        )
    rows = [["", "ReLUs", "branch", *(f"{metric} %" for metric in METRICS)]]
    evaluated = []
    for role, path, mode in (("teacher", teacher, "Normal"), ("student", finished, "Custom")):
        run_name = f"{role}_{name}"
        run(
            "validate_common_corruptions.py",
            f"--path {quoted[path]} --validate_mode {mode}_Network {common} --run_name {run_name} --use2BN",
            corruptions,
        )
        evaluated.append(save / "validation" / run_name)
        results = read_results(evaluated[-1])
        for branch in results.accuracy.CA:
            cells = (percent(results.accuracy.of(metric).get(branch)) for metric in METRICS)
            rows.append([f"{role} {results.model}", f"{results.relus.kept:,}", branch, *cells])
    page = save / "report.html"
    run("report.py", f"{shlex.join(map(str, evaluated))} --out {shlex.quote(str(page))}")
    print(f"\n{table(rows)}\n")
    fewer = f"{args.relu_share / 3:.2g}"
    words = ["--relu_share", fewer, "--dataset", args.dataset, "--model", args.model, "--data_root", args.data_root]
    words += ["--save_dir", f"{args.save_dir}_{fewer}"]
    print(last_screen([read_results(folder) for folder in evaluated], finished, page, perf_counter() - started, words))


def last_screen(evaluated: list[Results], student: Path, page: Path, seconds: float, fewer: list[str]) -> str:
    """What there is now, what it means, and what to try next.

    `evaluated`: of the teacher, then of the student; `fewer`: the options that keep a third of these ReLUs.
    """
    comes_trained = "zoo:cifar10_resnet20_25pct_24"
    alone, relus = [results.single_branch for results in evaluated], evaluated[1].relus
    right, robust = [f"{one.CA:.0f}" for one in alone], [f"{one.AdvA:.0f}" for one in alone]
    return f"""\
What you have, after {duration(seconds)}
  {student}
      a network that keeps {relus.kept:,} of {relus.total:,} ReLUs ({relus.share:.0f} %), and is linear at
      every other
  {page}
      all of its figures and its teacher's on one page: open it in a browser

What it means
  Each ReLU is paid for where a network runs on encrypted data. Through its best
  single branch the student is right on {right[1]} % of the unchanged test images
  (the teacher on {right[0]} %) and on {robust[1]} % of attacked ones (the teacher on {robust[0]} %).
  Branch 0 was trained on clean and AugMix images, branch 1 on adversarial ones.
  CA is the accuracy on unchanged images, NPA the mean over 15 corruptions at 5
  severities, AdvA that under PGD-20 at 8/255 through the branch that predicts.

What to try next
  What it costs in private inference, estimated:
      {command("measure_private_inference.py", "--path", student, "--estimate-only", "--network", "lan", "wan")}
  A third of the ReLUs:
      {command("demo.py", *fewer)}
  A network of CIFAR-10 that comes trained:
      {command("validate_common_corruptions.py", "--path", comes_trained, "--generate", "--images", 256)}"""


if __name__ == "__main__":
    run_script(main, parse_args)
