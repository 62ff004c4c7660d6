"""A wrong value ends in one line that names it, before anything is read or written."""

from __future__ import annotations

import argparse
import importlib
import re
from contextlib import suppress
from pathlib import Path

import pytest

from helper.command_line import Parser, point_count, reflowed
from helper.errors import UserError
from train_teacher import parse_args

ROOT = Path(__file__).parents[2]

STAGES = {
    "train_teacher": "--dataset=digits",
    "train_student_stage1_multigpu": "--path_t=t --model_s=CustomResNet18 --relu_budget=1",
    "train_student_stage2_multigpu": "--path_t=t --model_s=CustomResNet18 --path_s_load=s",
}


@pytest.mark.parametrize(
    "option",
    [
        *("--eps=1/0", "--eps=-1", "--step_size=nan", "--learning_rate=nan", "--momentum=-1", "--weight_decay=inf"),
        *("--lr_decay_epochs=5,x", "--lr_decay_epochs=nan", "--epochs=0", "--limit_val_batches=0", "--num_workers=-1"),
        *("--seed=-1", "--seed=4294967296", "--run_name=.", "--run_name=..", "--run_name=a/b", "--run_name=/tmp"),
        *("--select_on=best", "--dataset=mnist", "--unknown=1", "--amp=fp16", "--compile=inductor", "--preset=slow"),
        *("--eps=1e999999999", "--eps=1e308", "--learning_rate=1e308", "--learning_rate=1e999", f"--epochs={10**30}"),
        *("--num_workers=5000", f"--batch_size={'9' * 5000}", "--run_name=--", "--run_name=caf\udce9"),
        *("--ema=1", "--ema=-0.5", "--ema=x", "--select_attack_images=0", "--attack_mode=autoattack"),
    ],
)
def test_a_wrong_value_is_refused(option: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        parse_args([option])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert option.partition("=")[0] in line


# What a slip of the keyboard, or a script's empty variable, makes of a value.
SLIPS = [
    *(
        "1e308",
        "-1e308",
        "1e999",
        "1e999999999",
        "1e-999999999%",
        "1e99999k",
        "nan",
        "nan%",
        "nan,nan",
        "-inf",
        "1e999/3",
    ),
    *("9" * 5000, f"{'9' * 400}h", "-1", "", " ", "--", "%s", "k", "\0", "\n", "0x10", "1/0", "a:99999999", "[::1]:1"),
    *("zoo:", "zoo:/", "folder:", "folder:\0", "x.py:f", "/dev/zero"),
]


@pytest.mark.slow
def test_no_value_makes_an_option_stumble(monkeypatch: pytest.MonkeyPatch):
    parsers: list[Parser] = []

    def keep(parser: Parser, argv: list[str]) -> None:
        parsers.append(parser)
        raise LookupError

    monkeypatch.setattr(Parser, "parse_args", keep)
    for script in ROOT.glob("*.py"):
        if "run_script(main" in script.read_text():
            with pytest.raises(LookupError):
                importlib.import_module(script.stem).parse_args([])
    assert len(parsers) > 10
    for action in (action for parser in parsers for action in parser._actions if action.type):
        for text in SLIPS:
            # An OSError, for a name too long, is a line of `run_script`.
            with suppress(ValueError, argparse.ArgumentTypeError, UserError, OSError):
                action.type(text)


def test_the_values_of_the_published_commands_are_taken():
    taken = "--eps=8/255 --step_size=0.01 --lr_decay_epochs=50,80 --learning_rate=1e-2 --run_name=a,b"
    args = parse_args(taken.split())
    assert (args.eps, args.lr_decay_epochs, args.learning_rate) == (8 / 255, [50.0, 80.0], 0.01)
    assert parse_args(["--lr_decay_epochs="]).lr_decay_epochs == []


@pytest.mark.parametrize("script", STAGES)
def test_the_fast_preset_is_a_short_one_cycle_and_gives_way(script: str):
    def parse(more: str):
        return importlib.import_module(script).parse_args(f"{STAGES[script]} {more}".split())

    full, fast = parse(""), parse("--preset fast")
    assert full.preset == "full"
    assert full.lr_schedule == "step"
    assert full.epochs in (150, 240)
    assert 15 <= fast.epochs <= 30
    assert (fast.preset, fast.lr_schedule) == ("fast", "onecycle")
    changed = {name for name, value in vars(fast).items() if value != getattr(full, name)}
    assert changed == {"preset", "lr_schedule", "epochs", "learning_rate"}
    for more in ("--epochs=7 --learning_rate=0.05 --preset=fast", "--preset=fast --epochs=7 --learning_rate=0.05"):
        given = parse(more)
        assert (given.epochs, given.learning_rate, given.lr_schedule) == (7, 0.05, "onecycle")
    # A value that is given wins also where it is the full schedule's own.
    assert parse(f"--preset fast --epochs {full.epochs}").epochs == full.epochs


def test_memory_order_is_a_flag_with_its_opposite():
    assert parse_args([]).channels_last
    assert parse_args(["--channels_last"]).channels_last
    assert not parse_args(["--no_channels_last"]).channels_last


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", ("resnet8", "digits", 30)),
        ("--epochs 3", ("resnet8", "digits", 3)),
        ("--dataset digits", ("ResNet18", "digits", 240)),
        ("--model resnet20", ("resnet20", "digits", 240)),
    ],
)
def test_a_first_try_trains_what_fits_the_digits(options: str, expected: tuple):
    args = parse_args(options.split())
    assert (args.model, args.dataset, args.epochs) == expected


@pytest.mark.parametrize("script", [*STAGES, "validate_common_corruptions", "measure_private_inference"])
def test_help_begins_with_a_few_options_and_says_every_one_once(script: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        importlib.import_module(script).parse_args(["--help"])
    usage, first, *groups = re.split(r"\n(?=\S.*:\n  -)", capsys.readouterr().out)
    assert usage.startswith("usage: ")
    assert len(usage.split("\n\n")[0].splitlines()) <= 3
    assert first.startswith("what people change first:")
    options = [re.findall(r"^  (--\w+)", group, re.MULTILINE) for group in (first, *groups)]
    assert len(options[0]) == (7 if script == "measure_private_inference" else 10)
    every = [option for group in options for option in group]
    assert len(every) == len(set(every))
    training = {"--limit_train_batches", "--save_freq", "--print_freq"}
    assert training & set(every) == (training if script in STAGES else set())


def test_help_fits_the_terminal_but_for_commands(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    text = "A paragraph of more than forty characters,\nin two.\n\n    python a.py --with a_command_of_some_length\n"
    paragraph, _, command = reflowed(text).partition("\n\n")
    assert max(map(len, paragraph.splitlines())) <= 38
    assert " ".join(paragraph.split()) == "A paragraph of more than forty characters, in two."
    assert command == "    python a.py --with a_command_of_some_length"


def test_help_lists_what_there_is(capsys: pytest.CaptureFixture[str]):
    for script, words in (
        ("train_teacher", ("wrn_22_8", "tiny_imagenet", "--images N")),
        ("train_student_stage1_multigpu", ("ResNet18_C10_relu82k_sensitivity", "STEM_best_ATA1.0.pth")),
    ):
        with pytest.raises(SystemExit):
            importlib.import_module(script).parse_args(["--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert all(word in text for word in words)


def test_a_curve_has_so_many_points_at_most():
    assert point_count("1000") == 1000
    with pytest.raises(argparse.ArgumentTypeError, match="2147483647 is above 1,000"):
        point_count("2147483647")
