"""What the zoo says of a network comes from the files that are named, of these weights, and names no place."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import torch
from support.cost_examples import measured_of, resnet20_costs, results_of
from support.result_examples import content_of
from support.running import run
from support.zoos import add_to_zoo, save_digits_network

import add_to_zoo as script
import validate_common_corruptions as validate
from formats.results import Results
from formats.zoo import PrivateCost
from helper.errors import UserError
from helper.files import file_digest, write_json
from helper.run_folder import FREE_OPTIONS, plain_arguments
from helper.zoo import entry_of, read_index, zoo_file
from models.restore import load_model
from reporting.zoo_entry import ZOO_METRICS, command_of, without_folders
from reporting.zoo_page import page_path, zoo_page

SMALL = "--batch_size 8 --limit_val_batches 2 --num_workers 0 --device cpu"


@pytest.fixture
def student(tmp_path) -> Path:
    args = {"data_root": "/home/me/data", "seed": 3, "select_on": "heldout", "ema": None, "learning_rate": 0.1}
    return save_digits_network(tmp_path / "run" / "student.pth", kept=200, args=args)


def evaluation(path: Path, of: Path, images: int = 100, **changes) -> Path:
    """results.json of an evaluation, as far as the zoo reads it."""
    pgd = {"name": "pgd", "eps": 8 / 255, "step_size": 2 / 255, "steps": 20, "restarts": 1}
    accuracy = {"images": images, "CA": {"0": 80.126, "1": 60.0}, "attacks": {"pgd": {"0": 1.0, "1": 35.0}}}
    results = content_of() | {"script": "validate_common_corruptions.py", "checkpoint": str(of)}
    results |= {"checkpoint_sha256": file_digest(of), "measured_on": "test", "accuracy": accuracy, "attack": pgd}
    results |= {"warnings": [], "args": {"eps": 8 / 255}, "corrupted_images": None}
    write_json(path, results | changes)
    return path


def training(path: Path, of: Path, **changes) -> Path:
    """results.json of the run that trained the checkpoint."""
    args = torch.load(of, weights_only=True)["args"]
    results = content_of() | {"script": "train_student_stage2_multigpu.py", "args": args, "epochs": 4}
    results |= {"wall_time_s": 1800.0, "accuracy": {"images": 9, "CA": {"0": 80.0, "1": 60.0}}}
    write_json(path, results | changes)
    return path


def costs(path: Path, of: Path, *, warm: bool = True) -> Path:
    digests = {2000: "0", 1000: file_digest(of)}
    every = (measured_of(resnet20_costs(kept, warm), kept, sha256=digest) for kept, digest in digests.items())
    write_json(path, results_of(*every).as_json())
    return path


@pytest.mark.slow
def test_a_trained_and_measured_network_is_taken_whole(empty_zoo, tmp_path):
    """With the very files that the scripts write."""
    run(
        f"train_teacher.py --dataset digits --model resnet8 --epochs 1 --limit_train_batches 1 {SMALL} --ema 0.9 "
        f"--save_dir {tmp_path}/save --run_name run"
    )
    file = tmp_path / "save/models/run/resnet8_best_ema.pth"
    measure = f"--path {file} {SMALL} --steps 2 --corruptions none --no_figures --save_dir {tmp_path}/save"
    validate.main(validate.parse_args(f"{measure} --run_name evaluated".split()))
    found = f"--evaluation {tmp_path}/save/validation/evaluated --training {tmp_path}/save/models/run"
    add_to_zoo(f"{file} --name teacher {found}")
    entry = entry_of("teacher")
    results = json.loads((tmp_path / "save/validation/evaluated/results.json").read_text())
    assert round(results["accuracy"]["CA"]["0"], 2) == entry.accuracy["0"].CA
    assert entry.accuracy["0"].AutoAttack is None
    assert entry.images == {"CA": 16, "AdvA": 16}
    assert entry.attacks["AdvA"].steps == 2
    assert (entry.kind, entry.epochs, entry.seed, entry.stage) == ("averaged", 1, 0, 0)
    assert entry.private is None
    # Again, from the zoo's own file, it is the same network.
    add_to_zoo(f"zoo:teacher --name teacher --replace --training {tmp_path}/save/models/run")
    assert entry_of("teacher").sha256 == entry.sha256
    assert len(read_index()) == 1
    with pytest.raises(UserError, match=r"resnet8_last\.pth holds the state of a training run"):
        add_to_zoo(f"{tmp_path}/save/models/run/resnet8_last.pth --name last")
    with pytest.raises(UserError, match="the checkpoint says averaged"):
        add_to_zoo(f"{file} --name raw --kind raw")


def test_figures_of_several_evaluations_come_together(empty_zoo, student, tmp_path):
    add_to_zoo(f"{save_digits_network(tmp_path / 'teacher.pth')} --name teacher")
    many = evaluation(tmp_path / "many.json", student, images=10_000)
    strong = {
        "images": 512,
        "CA": {"0": 1.0, "1": 1.0},
        "attacks": {"pgd": {"0": 1.0}, "autoattack": {"0": 0.5, "1": 30.0}},
    }
    few = evaluation(tmp_path / "few.json", student, accuracy=strong, warnings=["read /home/me/x: 8/255 is odd"])
    stages = [training(tmp_path / f"{name}.json", student, epochs=epochs) for name, epochs in (("a", 10), ("b", 20))]
    add_to_zoo(
        f"{student} --name student --evaluation {many} {few} --private {costs(tmp_path / 'pi.json', student)} "
        f"--training {stages[0]} {stages[1]} --teacher zoo:teacher --note 'short run' --commit abc"
    )
    entry = entry_of("student")
    assert {branch: row.as_json() for branch, row in entry.accuracy.items()} == {
        "0": {"CA": 80.13, "NPA": None, "AdvA": 1.0, "AutoAttack": 0.5},
        "1": {"CA": 60.0, "NPA": None, "AdvA": 35.0, "AutoAttack": 30.0},
    }
    assert entry.images == {"CA": 10_000, "AdvA": 10_000, "AutoAttack": 512}
    cost = resnet20_costs(1000).total("warm")
    assert entry.private == PrivateCost(protocol="semi2k", bytes=cost.bytes, rounds=cost.rounds)
    assert (entry.epochs, entry.hours, entry.teacher, entry.kind) == (30, 1.0, "teacher", "raw")
    assert (entry.seed, entry.select_on, entry.commit) == (3, "heldout", "abc")
    assert entry.warnings == ("read x: 8/255 is odd",)
    page = page_path().read_text()
    assert page == zoo_page(read_index())
    (row,) = [line for line in page.splitlines() if line.startswith("| `zoo:student`")]
    assert row.count("|") == 16
    assert "| 80.13 / 60.00 | - | 1.00 / 35.00 | 0.50 / 30.00 | 10,000, AutoAttack 512 | semi2k |" in row
    assert "short run" in page


def test_what_the_zoo_knows_of_a_teacher_counts_for_its_student(empty_zoo, student, tmp_path):
    teacher = save_digits_network(tmp_path / "teacher.pth", args={"seed": 0})
    of_teacher = training(tmp_path / "t.json", teacher, script="train_teacher.py", epochs=7, args={"seed": 0})
    add_to_zoo(f"{teacher} --name teacher --training {of_teacher}")
    own = training(tmp_path / "own.json", student)
    add_to_zoo(f"{student} --name known --teacher teacher --training {own}")
    add_to_zoo(f"{student} --name given --teacher teacher --training {of_teacher} {own}")
    known, given = entry_of("known"), entry_of("given")
    assert (known.epochs, known.hours) == (given.epochs, given.hours) == (11, 1.0)
    assert known.command == given.command
    assert known.command.startswith(entry_of("teacher").command)


def test_what_nobody_measured_is_null(empty_zoo, tmp_path):
    add_to_zoo(f"{save_digits_network(tmp_path / 'x.pth')} --name x --commit c")
    entry = entry_of("x")
    empty = {key for key, value in entry.as_json().items() if value is None}
    assert empty == {
        *(
            "kind",
            "interpolation",
            "private",
            "teacher",
            "command",
            "epochs",
            "hours",
            "seed",
            "select_on",
            "note",
            "corrupted_images",
        )
    }
    assert (entry.accuracy, entry.images, entry.warnings) == ({}, {}, ())
    assert "| - | - | - | - | - |" in page_path().read_text()


def test_no_path_of_the_machine_gets_into_the_zoo(empty_zoo, student, tmp_path):
    results = training(tmp_path / "training.json", student)
    command = "python train_teacher.py --eps 8/255 --data_root /home/me/data/cifar --save_dir=~/runs/a"
    add_to_zoo(f"{student} --name a --training {results} --note 'from /home/me/x.pth'")
    add_to_zoo(f"{student} --name b --command '{command}'")
    assert entry_of("b").command == "python train_teacher.py --eps 8/255 --data_root cifar --save_dir=a"
    for file in (*empty_zoo.iterdir(), page_path()):
        for place in (b"/home/", str(tmp_path).encode()):
            assert place not in file.read_bytes(), file
    args = load_model("zoo:a")[1].args
    assert (args["data_root"], args["learning_rate"]) == ("data", 0.1)
    assert without_folders("1/2, and/or ~30/60/90") == "1/2, and/or ~30/60/90"


def test_files_of_other_weights_are_refused(empty_zoo, student, tmp_path):
    other = save_digits_network(tmp_path / "other.pth", args={"seed": 1})
    old = evaluation(tmp_path / "old.json", student)
    content = json.loads(old.read_text())
    del content["checkpoint_sha256"]
    write_json(old, content)
    cold = costs(tmp_path / "cold.json", student, warm=False)
    for options, message in (
        (f"--evaluation {evaluation(tmp_path / 'e.json', other)}", "is of other weights, those of .*other.pth"),
        (f"--evaluation {evaluation(tmp_path / 'h.json', student, measured_on='heldout')}", "on heldout images"),
        (f"--evaluation {old}", "does not say which weights"),
        (f"--private {costs(tmp_path / 'p.json', other)}", "no measurement of these weights"),
        (f"--private {cold}", "one image alone"),
        (
            f"--training {training(tmp_path / 't.json', other)}",
            "did not train this checkpoint: learning_rate is None there and 0.1 here",
        ),
        (f"--training {old}", "those of no training"),
        ("--teacher nobody", "zoo:nobody: no such network"),
    ):
        with pytest.raises(UserError, match=message):
            add_to_zoo(f"{student} --name x {options}")
    assert not empty_zoo.exists()


def test_what_is_refused_leaves_the_network_that_was_to_be_replaced(empty_zoo, student, tmp_path, monkeypatch):
    add_to_zoo(f"{student} --name a")
    before = {path.name: path.read_bytes() for path in empty_zoo.iterdir()}
    other = save_digits_network(tmp_path / "other.pth")
    with pytest.raises(UserError, match="is of other weights"):
        add_to_zoo(f"{other} --name a --replace --evaluation {evaluation(tmp_path / 'e.json', student)}")
    monkeypatch.setattr(script, "LARGEST_FILE", 1000)
    with pytest.raises(UserError, match="a file and"):
        add_to_zoo(f"{other} --name a --replace")
    assert {path.name: path.read_bytes() for path in empty_zoo.iterdir()} == before


def test_a_name_is_taken_once_and_replaced_when_asked(empty_zoo, student, tmp_path, capsys):
    add_to_zoo(f"{student} --name a --note first")
    add_to_zoo(f"{student} --name b")
    before = (empty_zoo / "index.json").read_bytes()
    with pytest.raises(UserError, match="--replace"):
        add_to_zoo(f"{student} --name a --note second")
    assert (empty_zoo / "index.json").read_bytes() == before
    add_to_zoo(f"{save_digits_network(tmp_path / 'x.pth')} --name a --replace")
    assert [(entry.name, entry.note) for entry in read_index()] == [("a", None), ("b", None)]
    assert load_model("zoo:a")[1].model.name == "resnet8"
    for name in ("a/b", "..", "", "a|b", "a b"):
        with pytest.raises(SystemExit):
            script.parse_args([str(student), "--name", name])


def test_what_was_measured_of_the_file_in_the_zoo_is_of_these_weights_too(empty_zoo, student, tmp_path):
    add_to_zoo(f"{student} --name a")
    there = zoo_file("a")
    assert file_digest(there) != file_digest(student), "it leaves paths out"
    results, private = evaluation(tmp_path / "results.json", there), costs(tmp_path / "pi.json", there)
    add_to_zoo(f"{student} --name a --replace --evaluation {results} --private {private}")
    assert entry_of("a").accuracy["0"].CA == 80.13
    assert entry_of("a").private.protocol == "semi2k"


def test_what_was_known_of_the_same_weights_stays(empty_zoo, student, tmp_path):
    """Measured on more images, and more of it, without the runs that trained it."""
    few = evaluation(tmp_path / "few.json", student, images=10)
    add_to_zoo(
        f"{student} --name a --evaluation {few} --training {training(tmp_path / 'stage2.json', student)} "
        "--commit abc --note first --hours 2"
    )
    before = entry_of("a").as_json()
    strong = {"images": 512, "CA": {"0": 70.0, "1": 61.0}, "attacks": {"autoattack": {"1": 30.0}}}
    more = evaluation(tmp_path / "more.json", zoo_file("a"), accuracy=strong)
    add_to_zoo(f"zoo:a --name a --replace --evaluation {more} --note second")
    after = entry_of("a").as_json()
    assert after["accuracy"] == {
        "0": {"CA": 70.0, "NPA": None, "AdvA": 1.0, "AutoAttack": None},
        "1": {"CA": 61.0, "NPA": None, "AdvA": 35.0, "AutoAttack": 30.0},
    }
    assert after["images"] == {"CA": 512, "AdvA": 10, "AutoAttack": 512}
    assert set(after["attacks"]) == {"AdvA", "AutoAttack"}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"accuracy", "images", "attacks", "note"}
    assert (after["note"], after["commit"], after["epochs"], after["hours"]) == ("second", "abc", 4, 2.0)


@pytest.mark.parametrize("limit", ["LARGEST_FILE", "LARGEST_ZOO"])
def test_a_network_that_is_too_large_is_refused(limit, empty_zoo, student, monkeypatch):
    add_to_zoo(f"{student} --name a")
    size = (empty_zoo / "a.pth").stat().st_size
    monkeypatch.setattr(script, limit, {"LARGEST_FILE": size - 1, "LARGEST_ZOO": 2 * size - 1}[limit])
    with pytest.raises(UserError, match=r"b\.pth would have .* bytes"):
        add_to_zoo(f"{student} --name b")
    if limit == "LARGEST_ZOO":
        add_to_zoo(f"{student} --name a --replace")  # it does not count twice
    assert sorted(path.name for path in empty_zoo.iterdir()) == ["a.pth", "index.json"]


@pytest.mark.parametrize(
    "command",
    [
        "train_teacher --use2BN --attack_mode nfgsm --ema 0.99 --lr_decay_epochs 1,2 --no_sync_bn --run_name x",
        "train_student_stage1_multigpu --path_t zoo:teacher --model_s Customresnet8 --relu_budget 9 --preset fast",
        "train_student_stage2_multigpu --path_t zoo:teacher --path_s_load zoo:teacher --model_s Customresnet8 --dense",
    ],
)
def test_the_command_of_a_run_gives_its_options_again(command, zoo, monkeypatch):
    zoo("teacher")
    name, *words = command.split()
    parse = importlib.import_module(name).parse_args
    args = plain_arguments(vars(parse(words)))
    found = command_of(Results(**content_of(script=f"{name}.py", args=args)), "teacher").split()
    assert found[:2] == ["python", f"{name}.py"]
    found = [f"zoo:{word.removesuffix('.pth')}" if word == "teacher.pth" else word for word in found]
    again = plain_arguments(vars(parse(found[2:])))
    assert {key: again[key] for key in again.keys() - FREE_OPTIONS} == {
        key: args[key] for key in args.keys() - FREE_OPTIONS
    }


def test_the_metrics_are_those_of_the_index():
    assert ZOO_METRICS == ("CA", "NPA", "AdvA", "AutoAttack")
