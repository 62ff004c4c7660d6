"""The commands that users know run as they are written, on small stand-ins for the files that they name."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from support.forked import ROOT, Forked
from support.running import finish

from dataset import dataset_spec
from formats.checkpoint import Checkpoint
from helper.checkpoint import save_checkpoint
from helper.run_folder import find_by_long_name
from masks.allocation import budget_from_fractions
from masks.selection import set_random_masks
from models import build_model
from models.restore import describe_model
from sensitivity import load_budget
from training.plan import model_spec

SMALL = "--batch_size 8 --limit_train_batches 1 --limit_val_batches 1 --num_workers 0 --device cpu --no_download"

# A known command, letter for letter; the folder below save/ that it writes, by its long name; the ReLUs and
# checkpoints found there.
COMMANDS = [block.splitlines() for block in (ROOT / "tests/scripts/known_commands.txt").read_text().split("\n\n")]

# What a path of the table stands for: model, data set, branches, stage, and for a student its budget and tag. The
# teacher of the first ImageNet command is a file of torchvision's.
STAND_INS = {
    "models/CIFAR10/": ("ResNet18", "cifar10", 1, 0),
    "models/ResNet18_cifar10_augmix_pgd_2BN_batch128/": ("ResNet18", "cifar10", 2, 0),
    "models/ResNet18_cifar10_augmix_pgd_3BN/": ("ResNet18", "cifar10", 3, 0),
    "models/ResNet18_imagenet_": ("ResNet18", "imagenet", 1, 0),
    "T1:ResNet18_cifar10_relu82k/": ("CustomResNet18", "cifar10", 1, 1, "C10_relu82k", "senet"),
    "T1:ResNet18_cifar10_relu120k_": ("CustomResNet18", "cifar10", 2, 1, "c100_relu120k", "rslad+ce"),
    "T1:ResNet183BN_cifar10_relu82k_": ("CustomResNet18", "cifar10", 3, 1, "C10_relu82k", "rslad"),
    "T1:ResNet18_imagenet_relu300k/": ("CustomResNet18", "imagenet", 1, 1, "imagenet_relu300k", "senet"),
    "stage1:senet_cifar10_relu82k_": ("CustomResNet18", "cifar10", 2, 2, "C10_relu82k", "senet"),
}

# Python runs a sitecustomize.py at its start. Each class of 64 random images has some to hold out.
SITECUSTOMIZE = """
from dataclasses import replace
import numpy as np
import dataset

def load(root, *, train, download):
    pixels = np.random.default_rng(0).integers(256, size=(64, 32, 32, 3), dtype=np.uint8)
    return dataset.ArraySource(pixels, np.arange(64) % 10)

dataset.DATASETS["cifar10"] = replace(dataset.DATASETS["cifar10"], load=load)
"""


def make_stand_in(path: Path, name: str, data: str, branches: int, stage: int, budget: str = "", tag: str = "") -> None:
    model = build_model(name, **asdict(model_spec(dataset_spec(data), branches)))
    more = {}
    if budget:
        named = load_budget(f"ResNet18_{budget}_sensitivity")
        layers = budget_from_fractions(model, named.fractions, named.label)
        set_random_masks(model, layers, seed=0)
        more = {"budget": {"label": named.label, "layers": layers}, "tag": tag, "teacher": "ResNet18"}
    trained = [0, 2] if branches == 3 else list(range(branches))
    more |= {"dataset": data, "stage": stage, "trained_branches": trained}
    save_checkpoint(path, Checkpoint(**describe_model(name, model), **more))


def make_image_folders(root: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(40, 50, 3), dtype=np.uint8)
    for folder in ("train/n01", "train/n02", "val/n01", "val/n02"):
        (root / folder).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(pixels).save(root / folder / f"{number}.JPEG")


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Path]:
    """An empty folder in which the scripts lie; emptied afterwards, for the checkpoints take hundreds of megabytes."""
    for script in ROOT.glob("*.py"):
        (tmp_path / script.name).symlink_to(script)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SITECUSTOMIZE)
    yield tmp_path
    shutil.rmtree(tmp_path)


def ran(command: str, workplace: Path) -> str:
    """What a command says; a launcher's, which starts others, through a shell."""
    if "-m torch.distributed" not in command:
        words = shlex.split(command)
        python = words.index("python")
        environment = dict(word.split("=") for word in words[:python])
        return finish(Forked(words[python + 1 :], environment, cwd=workplace, prelude=SITECUSTOMIZE), timeout=300)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    modules = os.pathsep.join([str(workplace / "site"), str(ROOT)])
    ended = subprocess.run(
        command,
        shell=True,
        cwd=workplace,
        env={**os.environ, "PATH": path, "PYTHONPATH": modules},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize(("command", "folder", "found"), COMMANDS, ids=map(str, range(1, 11)))
def test_a_known_command_runs_as_written(command: str, folder: str, found: str, workplace: Path):
    for path in re.findall(r"--path\w*='(.+?)'", command):
        recipe = next((recipe for part, recipe in STAND_INS.items() if part in path), None)
        if recipe:
            make_stand_in(workplace / path, *recipe)
        else:
            (workplace / path).parent.mkdir(parents=True)
            torch.save(torchvision.models.resnet18().state_dict(), workplace / path)
    if "imagenet" in command:
        make_image_folders(workplace / "data/imagenet")
    evaluates = "validate_" in command
    more = "--steps 1" if evaluates else "--epochs 1 --steps 1 --eval_steps 1 --amp none"
    said = ran(f"{command} {SMALL} {more}", workplace)
    written = find_by_long_name(workplace / "save" / folder.removeprefix("-> ") / "results.json").parent
    kept, _, *checkpoints = found.split()
    assert sorted(file.stem for file in written.glob("*.pth")) == checkpoints
    results = json.loads((written / "results.json").read_text())
    assert f"{results['relus']['kept']:,}" == kept
    assert f": {kept} of {results['relus']['total']:,} ReLUs" in said
    assert ("AdvA" in results["oracle"]) == ("--attack_mode" in command)


@pytest.mark.parametrize(
    ("script", "required"),
    [
        ("train_teacher", ""),
        ("train_student_stage1_multigpu", "--path_t=t --model_s=CustomResNet18 --relu_budget=1"),
        ("train_student_stage2_multigpu", "--path_t=t --model_s=CustomResNet18 --path_s_load=s"),
        ("validate_common_corruptions", "--path=p"),
        ("interpolate_branches", "p --weight=0.5"),
    ],
)
def test_every_script_takes_the_common_options(script: str, required: str):
    common = "--data_root=d --save_dir=s --run_name=n --seed=1 --limit_train_batches=2 --limit_val_batches=2 "
    common += "--select_on=last --eval_steps=3 --step_size=1/255 --num_workers=0 --no_download"
    for more in (
        *(f"--device={device}" for device in ("auto", "cpu", "cuda")),
        *(f"--resume={resume}" for resume in ("auto", "some/where_last.pth")),
        *("--local-rank=0", "--local_rank=0"),
    ):
        args = importlib.import_module(script).parse_args(f"{required} {common} {more}".split())
        assert args.step_size == pytest.approx(1 / 255)
        assert args.no_download
        option, _, value = more.removeprefix("--").partition("=")
        assert str(getattr(args, option.replace("-", "_"))) == value
