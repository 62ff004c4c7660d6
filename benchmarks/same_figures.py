"""Two checkouts of this repository give the same figures, bit for bit: what a change that only moves code must show.

    git worktree add /tmp/old COMMIT
    python -m benchmarks.same_figures /tmp/old .

Runs the same commands on the handwritten digits in both: the three stages with 1, 2 and 3 batch-norm branches and
AugMix, a run that is stopped in the middle and goes on, two processes, a corruption folder, an evaluation, an exported
program. Compares weights, masks, logs and results, and says which differ; status 1 if any does. The new checkout must
also read what the old one wrote: it evaluates the old one's student, and makes a page of its results.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from helper import command_line
from helper.checkpoint import read_checkpoint
from helper.files import file_digest, read_json, real_path
from helper.run_folder import read_log

SMALL = "--batch_size 12 --limit_train_batches 3 --limit_val_batches 2 --num_workers 0 --device cpu --amp none --seed 3"
ATTACK = "--attack_mode pgd --steps 2 --eval_steps 2"
STUDENT = "--model_s Customresnet8 --dataset digits --robust_train_mode"
# Not figures: when and where, how fast, and the whole command line, which options of a newer commit lengthen.
LEFT_OUT = ("schema", "seconds", "images_per_second")
FIGURES = ("accuracy", "oracle", "single_branch", "relus", "trained_branches", "model", "dataset", "branches")


@dataclass
class Checkout:
    """A work tree, and the folder that its runs write."""

    root: Path
    out: Path
    python: str = sys.executable
    environment: dict[str, str] = field(default_factory=lambda: {**os.environ, "CUDA_VISIBLE_DEVICES": ""})

    def start(self, command: str) -> subprocess.Popen:
        words = [self.python, *command.replace("OUT", str(self.out)).split()]
        return subprocess.Popen(
            words, cwd=self.root, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def run(self, command: str) -> str:
        process = self.start(command)
        output = process.communicate()[0]
        if process.returncode:
            raise SystemExit(f"{self.root}: {command}\n{output}")
        return output


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("old", type=Path, help="the checkout to agree with")
    parser.add_argument("new", type=Path, help="the checkout to judge")
    return parser.parse_args(argv)


def commands() -> Iterator[str]:
    """In order; OUT stands for the folder of the checkout's runs."""
    for branches in (1, 2, 3):
        norm = f"--use{branches}BN" if branches > 1 else ""
        views = f"{SMALL} {ATTACK} --augment_mode augmix {norm} --save_dir OUT"
        name, teacher = f"b{branches}", f"--path_t OUT/models/b{branches}/resnet8_best_TA0.0.pth"
        yield f"train_teacher.py --model resnet8 --dataset digits {views} --epochs 2 --run_name {name}"
        yield (
            f"train_student_stage1_multigpu.py {teacher} {STUDENT} rslad+ce {views} --epochs 3 --relu_budget 9000 "
            f"--mask_freeze_epochs 1 --run_name {name}"
        )
        yield (
            f"train_student_stage2_multigpu.py {teacher} {STUDENT} rslad+attn+augattn+ce {views} --dense --epochs 2 "
            f"--path_s_load OUT/student_model/stage1/{name}/Customresnet8_best_TA0.0.pth --run_name {name}"
        )
    yield (
        f"-m torch.distributed.run --standalone --nproc_per_node 2 train_teacher.py --model resnet8 --dataset digits "
        f"{SMALL} {ATTACK} --use2BN --epochs 1 --run_name two --save_dir OUT"
    )
    yield "make_corruptions.py --dataset digits --out OUT/digits-C --corruptions fog jpeg_compression --workers 1"
    yield (
        f"validate_common_corruptions.py --path {STUDENT_FILE.format(2)} --limit_val_batches 1 --batch_size 32"
        " --steps 3 --num_workers 0 --generate --corruptions fog --no_figures --run_name evaluation --save_dir OUT"
    )
    yield f"export_model.py {STUDENT_FILE.format(2)} --format npz --out OUT/student.npz --branch 1"


STUDENT_FILE = "OUT/student_model/stage2/b{}/Customresnet8_stage2_best_TA0.0.pth"
INTERRUPTED = (
    f"train_teacher.py --model resnet8 --dataset digits {SMALL} {ATTACK} --epochs 6 --save_freq 1 --save_dir OUT"
)


def stop_and_go_on(checkout: Checkout) -> None:
    """One run without a stop, and one that is stopped by SIGTERM once it has begun, then resumed."""
    checkout.run(f"{INTERRUPTED} --run_name whole")
    process = checkout.start(f"{INTERRUPTED} --run_name stopped")
    while process.poll() is None and not list((checkout.out / "models").glob("stopped/*_last.pth")):
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    checkout.run(f"{INTERRUPTED} --run_name stopped --resume auto")


def figures(out: Path) -> dict[str, object]:
    """What must be equal, by file: digests of tensors and arrays, logs without clocks, the figures of results."""
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.suffix == ".pth":
            checkpoint = read_checkpoint(path)
            tensors = {key: value.numpy().tobytes() for key, value in checkpoint.state_dict.items()}
            found[name] = hashlib.sha256(b"".join(tensors[key] for key in sorted(tensors))).hexdigest()
        elif path.suffix in (".npy", ".npz"):
            found[name] = file_digest(path)
        elif path.name == "log.jsonl":
            records = [record.as_json() for record in read_log(path.parent)]
            found[name] = [{key: value for key, value in record.items() if key not in LEFT_OUT} for record in records]
        elif path.name == "results.json":
            results = read_json(path)
            found[name] = {key: results[key] for key in FIGURES if key in results}
    return found


def main(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        old, new = (
            Checkout(real_path(root), Path(folder, name)) for name, root in (("old", args.old), ("new", args.new))
        )
        for checkout in (old, new):
            for command in commands():
                checkout.run(command)
            stop_and_go_on(checkout)
        before, after = figures(old.out), figures(new.out)
        reread = "--limit_val_batches 1 --batch_size 32 --steps 3 --num_workers 0 --corruptions none --no_figures"
        new.run(
            f"validate_common_corruptions.py --path {STUDENT_FILE.format(2).replace('OUT', str(old.out))} {reread} "
            "--run_name reread --save_dir OUT"
        )
        new.run(f"report.py {old.out}/validation/evaluation {old.out}/models/b2 --out OUT/report.html")
    differing = [name for name in before if before[name] != after.get(name)]
    halves = [name for name in after if name.startswith("models/stopped/")]
    for name in halves:
        if name.endswith((".pth", "log.jsonl")) and after[name] != after[name.replace("stopped", "whole")]:
            differing.append(f"{name} (stopped and resumed) against the run without a stop")
    for name in after.keys() - before.keys():
        print(f"only the new one writes {name}")
    for name in differing:
        print(f"differs: {name}")
    print(f"{len(before)} files of figures, {len(differing)} differ")
    if differing:
        raise SystemExit(1)


if __name__ == "__main__":
    run_script(main, parse_args)
