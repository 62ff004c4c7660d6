"""A wrong value ends in one line that names it, before anything is read or written."""

from __future__ import annotations

import pytest

from train_teacher import parse_args


@pytest.mark.parametrize(
    "option",
    [
        *("--eps=1/0", "--eps=-1", "--step_size=nan", "--learning_rate=nan", "--momentum=-1", "--weight_decay=inf"),
        *("--lr_decay_epochs=5,x", "--lr_decay_epochs=nan", "--epochs=0", "--limit_val_batches=0", "--num_workers=-1"),
        *("--seed=-1", "--seed=4294967296", "--run_name=.", "--run_name=..", "--run_name=a/b", "--run_name=/tmp"),
        *("--select_on=best", "--dataset=mnist", "--unknown=1"),
    ],
)
def test_a_wrong_value_is_refused(option: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        parse_args([option])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert option.partition("=")[0] in line


def test_the_values_of_the_published_commands_are_taken():
    taken = "--eps=8/255 --step_size=0.01 --lr_decay_epochs=50,80 --learning_rate=1e-2 --run_name=a,b"
    args = parse_args(taken.split())
    assert (args.eps, args.lr_decay_epochs, args.learning_rate) == (8 / 255, [50.0, 80.0], 0.01)
    assert parse_args(["--lr_decay_epochs="]).lr_decay_epochs == []
