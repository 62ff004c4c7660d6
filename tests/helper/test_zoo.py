"""The trained networks of the repository: its own zoo, and a small one in a folder of its own."""

from __future__ import annotations

import importlib
import json
import subprocess
from pathlib import Path

import pytest
import torch
from support.running import fails
from support.zoos import add_to_zoo

import export_model
import interpolate_branches
import measure_private_inference
import validate_common_corruptions
from helper.checkpoint import read_checkpoint
from helper.errors import UserError
from helper.files import file_digest
from helper.run_folder import checkpoint_name
from helper.zoo import entry_of, read_index, zoo_file, zoo_folder
from masks.counting import relu_totals
from models.foreign import load_teacher
from models.restore import load_model
from reporting.zoo_page import page_path, zoo_page

ROOT = Path(__file__).parents[2]


# The repository's own


def test_every_network_is_the_one_that_the_index_describes():
    for entry in read_index():
        model, checkpoint = load_model(f"zoo:{entry.name}")
        assert relu_totals(model) == (entry.relus, entry.total)
        assert checkpoint.model.name == entry.model
        assert entry.teacher is None or entry_of(entry.teacher).stage == 0


def test_the_zoo_stays_small_and_has_nothing_else():
    files = {path.name: path.stat().st_size for path in zoo_folder().iterdir()}
    assert set(files) == {"index.json", *(entry.file for entry in read_index())}
    assert sum(files.values()) < 20e6
    assert max(files.values()) <= 2 * 2**20


def test_the_page_is_that_of_the_index():
    remedy = "python -m reporting.zoo_page makes it anew"
    assert page_path().read_text(encoding="utf-8") == zoo_page(read_index()), remedy


def test_networks_and_index_can_be_committed():
    ignored = subprocess.run(["git", "check-ignore", "zoo/name.pth", "zoo/index.json"], cwd=ROOT, check=False)
    assert ignored.returncode in (1, 128)  # 128: no git checkout


# A small one


def test_a_short_name_stands_for_the_file(zoo):
    file = zoo("teacher")
    assert zoo_file("teacher") == file
    named, straight = load_model("zoo:teacher"), load_model(file)
    assert all(torch.equal(a, b) for a, b in zip(named[0].parameters(), straight[0].parameters(), strict=True))
    assert read_checkpoint("zoo:teacher").dataset == "digits"
    assert load_teacher("zoo:teacher", named[0].spec, "Customresnet8")[1].model.name == "resnet8"
    assert export_model.parse_args(["zoo:teacher", "--format", "npz", "--out", "x"]).checkpoint == file
    assert checkpoint_name(file) == "zoo_teacher"


def test_an_unknown_name_lists_those_that_there_are(zoo, monkeypatch):
    zoo("teacher"), zoo("student")
    with pytest.raises(UserError, match=r"zoo:techer: .*did you mean zoo:teacher\? the zoo has teacher, student"):
        load_model("zoo:techer")
    with pytest.raises(UserError, match=r"zoo:: no such network"):
        load_model("zoo:")
    monkeypatch.setenv("RLNET_ZOO", "/nowhere")
    with pytest.raises(UserError, match="the zoo has none yet"):
        load_model("zoo:teacher")


def test_a_damaged_or_missing_file_is_refused(zoo):
    file = zoo("teacher")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"zoo:teacher: .*damaged"):
        load_model("zoo:teacher")
    file.unlink()
    with pytest.raises(UserError, match=r"zoo:teacher: .*teacher\.pth is missing"):
        load_model("zoo:teacher")


@pytest.mark.parametrize(
    "index", ["{", '{"name": 1}', '[{"name": "x"}]', '[{"name": "x", "file": "../x", "sha256": ""}]', "[1]", "1"]
)
def test_a_damaged_index_is_refused(index, zoo):
    zoo("teacher")
    (zoo_folder() / "index.json").write_text(index)
    with pytest.raises(UserError, match=r"index\.json: not an index of networks"):
        load_model("zoo:teacher")


@pytest.mark.parametrize(
    ("script", "more", "options"),
    [
        ("train_student_stage1_multigpu", "--model_s Customresnet8 --relu_budget 9", ["--path_t"]),
        ("train_student_stage2_multigpu", "--model_s Customresnet8", ["--path_t", "--path_s_load"]),
        ("validate_common_corruptions", "", ["--path"]),
        ("measure_private_inference", "", ["--path"]),
    ],
)
def test_every_option_that_takes_a_checkpoint_takes_a_short_name(script, more, options, zoo):
    file, parse = zoo("teacher"), importlib.import_module(script).parse_args
    for chosen in options:
        names = {option: "zoo:teacher" if option == chosen else "x.pth" for option in options}
        args = parse(f"{more} {' '.join(f'{option} {name}' for option, name in names.items())}".split())
        found = getattr(args, chosen.removeprefix("--"))
        assert file in (found, found[0] if isinstance(found, list) else None)
    with pytest.raises(UserError, match="zoo:x: no such network"):
        parse([*more.split(), *(word for option in options for word in (option, "zoo:x"))])


def test_a_network_of_the_zoo_is_measured_like_any_other(zoo, tmp_path):
    file = zoo("student")
    common = f"--path zoo:student --save_dir {tmp_path}"
    main, parse = validate_common_corruptions.main, validate_common_corruptions.parse_args
    small = "--attack_mode none --corruptions none --no_figures --limit_val_batches 1 --num_workers 0 --device cpu"
    main(parse(f"{common} {small}".split()))
    results = json.loads((tmp_path / "validation/zoo_student/results.json").read_text())
    assert results["checkpoint_sha256"] == file_digest(file)
    main, parse = measure_private_inference.main, measure_private_inference.parse_args
    main(parse(f"{common} --network wan --estimate-only".split()))
    assert (tmp_path / "private_inference/zoo_student_cheetah_estimate/estimate.json").is_file()


def test_a_network_made_of_one_of_the_zoo_is_written_elsewhere(zoo, tmp_path):
    zoo("student")
    before = sorted(zoo_folder().iterdir())
    main, parse = interpolate_branches.main, interpolate_branches.parse_args
    small = "--corruptions none --steps 1 --limit_val_batches 1 --num_workers 0 --device cpu"
    main(parse(f"zoo:student --t 0.5 {small} --save_dir {tmp_path}".split()))
    assert sorted(zoo_folder().iterdir()) == before
    (file,) = tmp_path.glob("interpolation/*/student_t0.5.pth")
    add_to_zoo(f"{file} --name single")
    assert entry_of("single").interpolation.t == 0.5
    assert "between its branches at t = 0.5" in page_path().read_text()


@pytest.mark.slow
def test_a_wrong_name_is_one_line():
    assert "zoo:x: no such network" in fails("export_model.py zoo:x --format npz --out x")
