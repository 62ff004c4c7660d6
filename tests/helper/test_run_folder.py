"""What runs are called, and their logs, which are read as they are written today whoever wrote them."""

from __future__ import annotations

import json
import re

import pytest
from support.result_examples import epoch_of, record_of

from helper.errors import UserError
from helper.run_folder import default_folder, differing_options, find_by_long_name, read_log, short_name

LONG = "S:CustomResNet18_T1:ResNet18_cifar10_relu82k_augmix_rslad+ce_kdT4.0_2BN_batch128"
READABLE = "CustomResNet18_cifar10_relu82k"


def test_a_log_is_in_per_cent_whoever_wrote_its_lines(tmp_path):
    earlier, later = record_of(1, accuracy_adv=0.25, mask_distance=0.125), record_of(2, accuracy_adv=50.0)
    del earlier["schema"]
    earlier["accuracy_clean"] = 0.9
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in (earlier, later)))
    assert read_log(tmp_path) == [epoch_of(1, accuracy_adv=25.0, mask_distance=12.5), epoch_of(2, accuracy_adv=50.0)]


def test_a_line_that_is_no_epoch_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_text(json.dumps(record_of(1)) + "\n" + json.dumps(record_of(2, loss="low")) + "\n")
    with pytest.raises(UserError, match=r"log\.jsonl, line 2: not .* loss is 'low'; it should be a valid number"):
        read_log(tmp_path)


@pytest.mark.parametrize("name", ["ResNet18_cifar10_augmix_pgd_2BN_batch128", "a" * 40])
def test_a_name_that_is_short_enough_stays(name):
    assert short_name(name, name) == name


@pytest.mark.parametrize(("long", "readable"), [(LONG, READABLE), ("a" * 41, "a" * 41), ("resnet8_folder:pets",) * 2])
def test_a_short_name_has_forty_characters_at_most_and_no_colon(long, readable):
    name = short_name(long, readable)
    assert len(name) <= 40
    assert ":" not in name
    assert name != short_name(f"{long}_", readable)


@pytest.mark.parametrize(
    ("readable", "words"),
    [
        ("Customresnet20_relu47.104k_cifar10", "Customresnet20_relu47.104k"),
        ("cheetah_Customresnet20_stage2_TA0.0", "cheetah_Customresnet20_stage2"),
        ("a" * 31 + "_b", "a" * 31),
        ("a" * 40, "a" * 31),
    ],
)
def test_a_short_name_is_of_whole_words(readable, words):
    assert re.fullmatch(f"{words}_[0-9a-f]{{8}}", short_name(LONG, readable))


def test_a_run_whose_short_name_was_made_otherwise_is_gone_on_with(tmp_path):
    digest = default_folder(tmp_path, LONG, READABLE).name.rpartition("_")[2]
    earlier = tmp_path / f"CustomResNet18_cifar10_relu8_{digest}"
    for name in (earlier.name, f"{earlier.name}.old1", f".{earlier.name}.lock"):
        (tmp_path / name).mkdir()
    assert default_folder(tmp_path, LONG, READABLE) == earlier


def test_a_path_through_the_long_name_finds_the_short_one(tmp_path):
    folder = default_folder(tmp_path, LONG, READABLE)
    folder.mkdir()
    (folder / "a_best.pth").touch()
    other = default_folder(tmp_path, f"{LONG}_ema", READABLE)
    other.mkdir()
    (other / "a_best.pth").touch()
    assert find_by_long_name(tmp_path / LONG / "a_best.pth") == folder / "a_best.pth"
    missing = tmp_path / LONG / "b_best.pth"
    assert find_by_long_name(missing) == missing


def test_a_folder_with_the_long_name_is_gone_on_with(tmp_path):
    assert default_folder(tmp_path, LONG, READABLE, long_names=True).name == LONG
    (tmp_path / LONG).mkdir()
    assert default_folder(tmp_path, LONG, READABLE).name == LONG


def test_a_file_is_the_same_option_by_whatever_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = {"path_t": str(tmp_path / "save/a.pth"), "epochs": 2, "distill": "kd", "data_root": "a"}
    assert differing_options(begun, {**begun, "path_t": "save/a.pth", "data_root": "b"}) == []
    assert differing_options(begun, {**begun, "path_t": "b.pth", "epochs": 3, "distill": None}) == [
        *("distill", "epochs", "path_t")
    ]
