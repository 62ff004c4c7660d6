"""What a run says: what it will do, what its bar shows at 80 columns, how long it takes, and what comes next."""

from __future__ import annotations

import io
import re
import shlex
from pathlib import Path

import pytest
from support.running import run
from support.runs import STAGE1, STAGE2, TEACHER
from tqdm import tqdm

from training.epoch import BAR
from training.progress import Clock, bar_text, summary


def test_the_bar_shows_loss_and_robustness_within_80_columns():
    means = {"accuracy_clean": 80.06, "ce_adv": 1.5, "loss": 1.23456, "accuracy_adv": 34.46, "accuracy_aug": 70.0}
    text = bar_text(means)
    assert text == "loss 1.2346, under attack 34.5 %, clean 80.1 %, AugMix 70.0 %"
    bar = tqdm(total=400, initial=130, bar_format=BAR, ncols=80, file=io.StringIO(), desc="epoch 103/150, 2.5 h left")
    bar.set_postfix_str(text)
    assert "loss 1.2346, under attack 34.5 %" in str(bar)[:80]


def test_an_epoch_s_lines_fit_80_columns_and_begin_with_loss_and_robustness(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    accuracy = {"TA": {"0": 88.1, "1": 65.2}, "ATA": {"1": 35.9}, "TA_ema": {"0": 88.4, "1": 66.0}}
    record = {"epoch": 103, "loss": 1.23456, "learning_rate": 0.05, "images_per_second": 310.4, "seconds": 160.2}
    first, *more = summary({**record, **accuracy, "mask_distance": 0.52}, 150, "heldout").splitlines()
    assert first == "epoch 103/150, loss 1.2346, under attack 35.90 % (branch 1),"
    assert more[0].startswith("  clean 88.10 % (branch 0), 65.20 % (branch 1),")
    assert " ".join(map(str.strip, more)).endswith("310 images/s, 160 s, about 2.1 h left")
    assert all(len(line) <= 80 for line in (first, *more))


def test_the_time_left_is_that_of_the_whole_run():
    assert Clock(epochs=9).left(0.25, 30.0) == 9 * 120 + 90  # in the first epoch, by what was done of it
    assert Clock(epochs=9, epoch_s=200.0).left(0.25, 30.0) == 9 * 200 + 90
    assert Clock(epochs=0, epoch_s=200.0).left(1.0, 120.0) == 0


@pytest.mark.slow
def test_a_run_says_what_it_does_and_the_command_that_goes_on_from_it(tmp_path):
    """Every command printed as the next one can be typed, from the teacher to the evaluation."""
    few = f"--epochs 2 --save_dir {tmp_path}"
    output = run(f"{TEACHER} {few}")
    assert re.search(r"^teacher: resnet8 on digits; [\d,]+ images to train on", output, re.MULTILINE)
    assert "views clean, aug, adv (PGD-2 at 8/255); all 73,728 ReLUs; 2 epochs of 4 batches of 16 images" in output
    assert re.search(r"epoch 1/2, .* about \d+ s left", output, re.DOTALL)
    for template, stage, mode in ((STAGE1, 1, "rslad+ce"), (STAGE2, 2, "kl+ce")):  # stage 2 as stage 1 was told
        script, *words = next_command(output)
        assert words[words.index("--robust_train_mode") + 1] == mode
        assert script == template.split()[0]
        taken = [word for word in words if word not in ("--relu_budget", "15%")]
        output = run(f"{template} {shlex.join(taken)} {few} --robust_train_mode kl+ce")
        assert list(Path(tmp_path, "student_model", f"stage{stage}").glob("*/results.json"))
    script, *words = next_command(output)
    assert script == "validate_common_corruptions.py"
    small = "--batch_size 16 --limit_val_batches 1 --num_workers 0 --eval_steps 1 --corruptions fog"
    output = run(f"{script} {shlex.join(words)} {small}")
    assert next_command(output)[0] == "report.py"


def next_command(output: str) -> list[str]:
    (line,) = re.findall(r"^next: \S+ (.*)$", output, re.MULTILINE)
    return shlex.split(line)
