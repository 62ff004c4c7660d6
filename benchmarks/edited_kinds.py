"""An intact file of every kind, made by the script that writes it, and a use of it, for benchmarks/edited_files.py."""

from __future__ import annotations

from helper.script import StopSignal, run_script

import os
import runpy
import shlex
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from benchmarks.edits import Edit
from helper.checkpoint import read_file
from helper.files import read_text
from masks.search import searches
from models.layers import relu_sites
from models.restore import load_model
from private_inference.program.npz_file import load_program

RATES = "--batch_size 16 --limit_val_batches 1 --num_workers 0 --device cpu --seed 0 --eval_steps 1"
TRAINING = f"--dataset digits {RATES} --limit_train_batches 2 --steps 1 --amp none --epochs 2"
TEACHER = f"train_teacher.py --model resnet8 {TRAINING} --augment_mode augmix --attack_mode pgd --use2BN --run_name t"
STAGE1 = f"train_student_stage1_multigpu.py --path_t HERE/teacher.pth {TRAINING} --run_name s"
JUDGE = f"validate_common_corruptions.py --path HERE/teacher.pth {RATES} --no_figures --severities 1 --corruptions"
FOG = f"{JUDGE} fog --corruption_dir HERE --save_dir OUT --attack_mode none"
TWO = "WORLD_SIZE=2,RANK="
HERE = "MASTER_ADDR=127.0.0.1,MASTER_PORT="
SETTINGS = f"""WORLD_SIZE=two WORLD_SIZE=0 WORLD_SIZE=-1 WORLD_SIZE=1e9 WORLD_SIZE=2 RANK=1 RANK=x LOCAL_RANK=x
LOCAL_RANK=7 {TWO}2 {TWO}-1 {TWO}0,LOCAL_RANK=9 {TWO}0 {TWO}0,MASTER_PORT=29511 {TWO}0,{HERE}http {TWO}0,{HERE}99999
{TWO}0,MASTER_ADDR=nowhere.invalid,MASTER_PORT=29511 {TWO}1,{HERE}29511 {TWO}0,{HERE}29511"""


@dataclass(frozen=True)
class Example:
    """`file`, in `folder`, and the command, or the function, that reads it. `edits`: None for all of such a file."""

    folder: Path
    file: str
    use: str | Callable[[Path], object]
    edits: Sequence[Edit] | None = None


@dataclass(frozen=True)
class Ended:
    status: int
    seconds: float
    memory: int  # bytes at most


def preload() -> None:
    """Load what scripts import, once and not in every process."""
    scripts = ("train_teacher", "train_student_stage1_multigpu", "validate_common_corruptions", "report", "reproduce")
    for script in (*scripts, "export_model", "make_corruptions", "measure_private_inference"):
        runpy.run_path(f"{script}.py", run_name="loaded")


def run_to_the_end(use: str | Callable[[Path], object], file: Path, said: Path, seconds: int) -> Ended:
    """In a process that is forked from this one; what it says lies in `said`."""
    began = time.monotonic()
    if not (child := os.fork()):
        signal.alarm(seconds)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        try:
            if callable(use):
                run_script(lambda args: use(file) and None, lambda: None)  # type: ignore[arg-type,return-value]
            sys.argv = words_of(str(use), file)
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as ended:
            sys.stdout.flush()
            os._exit(ended.code if isinstance(ended.code, int) else 1)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    _, status, usage = os.wait4(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - began, 1024 * usage.ru_maxrss)


def words_of(use: str, file: Path) -> list[str]:
    words = shlex.split(use)
    for name, path in {"FILE": file, "HERE": file.parent, "OUT": file.parent.parent / "out"}.items():
        words = [word.replace(name, str(path)) for word in words]
    return words


def make(command: str | Callable[[Path], object], folder: Path) -> None:
    """Run a command that must end well; HERE is the folder."""
    said = folder.parent / "said.txt"
    if run_to_the_end(command, folder / "file", said, 600).status:
        raise AssertionError(f"{command}: {read_text(said)}")


def teacher(folder: Path) -> Path:
    """The folder of a run of two epochs; made once."""
    run = folder / "models" / "t"
    if not run.exists():
        make(f"{TEACHER} --save_dir HERE", folder)
    return run


def with_teacher(folder: Path, name: str) -> Path:
    """A new folder with the teacher in it."""
    found = folder / name
    found.mkdir()
    shutil.copy(teacher(folder) / "resnet8_best_TA0.0.pth", found / "teacher.pth")
    return found


def checkpoint(folder: Path) -> Example:
    found = with_teacher(folder, "checkpoint")
    return Example(found, "teacher.pth", "export_model.py FILE --format npz --out OUT")


def judged_checkpoint(folder: Path) -> Example:
    found = with_teacher(folder, "judged")
    return Example(found, "teacher.pth", f"{JUDGE} none --save_dir OUT")


def run_state(folder: Path) -> Example:
    found = folder / "state"
    shutil.copytree(teacher(folder), found)
    state = read_file(found / "resnet8_last.pth")
    assert isinstance(state, dict)  # as after its first epoch
    state |= {"epoch": 1, "progress": {**state["progress"], "epoch": 1, "step": 0}}
    torch.save(state, found / "resnet8_last.pth")
    return Example(found, "resnet8_last.pth", f"{TEACHER} --save_dir OUT --resume FILE")


def of_search(name: str) -> Callable[[Path], Example]:
    """In its first epoch, after a step: a finished run keeps no search."""

    def example(folder: Path) -> Example:
        found = with_teacher(folder, name)
        # The teacher stays where it is: with another one the run is another, whatever else its state says.
        search = f"{STAGE1} --relu_budget 9% --mask_search {name} --save_dir".replace("HERE", str(found))
        make(partial(first_step, f"{search} {found}"), found)
        (last,) = found.rglob("*_last.pth")
        shutil.copy(last, found / "last.pth")
        return Example(found, "last.pth", f"{search} OUT --resume FILE")

    return example


def first_step(command: str, file: Path) -> None:
    """Of a training run, which is then told to stop."""
    StopSignal.requested = lambda self: True  # type: ignore[method-assign]
    sys.argv = words_of(command, file)
    runpy.run_path(sys.argv[0], run_name="__main__")


def budget(folder: Path) -> Example:
    found = with_teacher(folder, "budget")
    layers = len(relu_sites(load_model(found / "teacher.pth")[0]))
    lines = ["label: relu1k", "model: resnet8", "dataset: digits", "image_size: 32", "source: a paper"]
    (found / "x.yaml").write_text("\n".join([*lines, f"fractions: {[0.5] * layers}", ""]))
    return Example(found, "x.yaml", f"{STAGE1} --sensitivity FILE --save_dir OUT".replace("--epochs 2", "--epochs 1"))


def of_run(name: str, file: str, use: str = "report.py HERE --out OUT") -> Callable[[Path], Example]:
    def example(folder: Path) -> Example:
        found = folder / name
        shutil.copytree(teacher(folder), found)
        return Example(found, file, use)

    return example


def of_evaluation(name: str, file: str, corruptions: str, use: str) -> Callable[[Path], Example]:
    def example(folder: Path) -> Example:
        found = with_teacher(folder, name)
        make(f"{JUDGE} {corruptions} --steps 1 --save_dir HERE --run_name v", found)
        for each in (found / "validation" / "v").iterdir():
            if each.is_file():
                shutil.copy(each, found)
        return Example(found, file, f"{JUDGE} {corruptions} --save_dir OUT {use} FILE")

    return example


def of_corruptions(name: str, file: str, more: str = "") -> Callable[[Path], Example]:
    def example(folder: Path) -> Example:
        found = with_teacher(folder, name)
        make("make_corruptions.py --dataset digits --corruptions fog --severities 1 --out HERE/C", found)
        for each in (found / "C").iterdir():
            shutil.copy(each, found)
        return Example(found, file, f"{FOG} {more}")

    return example


def configuration(folder: Path) -> Example:
    found = folder / "configuration"
    found.mkdir()
    shutil.copy("reproduce/digits.yaml", found / "x.yaml")
    return Example(found, "x.yaml", "reproduce.py --config FILE --dry_run --save_dir OUT --data_root HERE")


def estimate(folder: Path) -> Example:
    found = with_teacher(folder, "estimate")
    use = "measure_private_inference.py --path HERE/teacher.pth --network lan --estimate-only --save_dir HERE"
    make(f"{use} --run_name e", found)
    (file,) = found.rglob("estimate.json")
    shutil.copy(file, found)
    return Example(found, "estimate.json", "report.py FILE --out OUT")


def program(folder: Path) -> Example:
    found = with_teacher(folder, "program")
    make("export_model.py HERE/teacher.pth --format npz --out HERE/x.npz", found)
    return Example(found, "x.npz", load_program)


def environment(folder: Path) -> Example:
    """Settings that a launcher, or nobody, has left."""
    found = folder / "environment"
    found.mkdir()
    (found / "settings").write_text("RANK=0")
    edits = [(text, partial(Path.write_text, data=text)) for text in SETTINGS.split()]
    return Example(found, "settings", under_settings, edits)


def under_settings(file: Path) -> None:
    os.environ |= dict(word.split("=") for word in ["RLNET_RENDEZVOUS_SECONDS=2", *read_text(file).split(",")])
    sys.argv = words_of(f"{TEACHER} --save_dir OUT", file)
    runpy.run_path(sys.argv[0], run_name="__main__")


KINDS: dict[str, Callable[[Path], Example]] = {
    "checkpoint": checkpoint,
    "judged": judged_checkpoint,
    "state": run_state,
    **{name: of_search(name) for name in searches()},
    "budget": budget,
    "results": of_run("results", "results.json"),
    "log": of_run("log", "log.jsonl"),
    "measurements": of_evaluation("measurements", "measurements.json", "none", "--resume"),
    "baseline": of_evaluation("baseline", "results.json", "fog --generate", "--attack_mode none --baseline"),
    "manifest": of_corruptions("manifest", "manifest.json"),
    "header": of_corruptions("header", "fog.npy", "--no_verify"),
    "labels": of_corruptions("labels", "labels.npy", "--no_verify"),
    "configuration": configuration,
    "estimate": estimate,
    "program": program,
    "environment": environment,
}
