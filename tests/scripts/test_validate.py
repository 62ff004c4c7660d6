"""Whole evaluations of a checkpoint on digits: what is written, resuming, two processes, and bad input."""

from __future__ import annotations

import csv
import json
import re
import signal
import time
from pathlib import Path
from statistics import mean

import pytest
import torch
from support.running import fails, run, run_two, start

from dataset import dataset_spec
from formats.checkpoint import Checkpoint
from helper.checkpoint import read_checkpoint, save_checkpoint
from masks.selection import set_random_masks
from models import build_model
from models.layers import relu_sites
from models.restore import describe_model
from training.plan import model_spec

pytestmark = pytest.mark.slow

SMALL = "--steps 2 --batch_size 16 --limit_val_batches 2 --num_workers 0 --device cpu"
CELLS = "--generate --corruptions fog gaussian_noise frost --severities 2 5"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A masked student of two branches that knows nothing yet, with the log of a run beside it."""
    path = tmp_path_factory.mktemp("run") / "student.pth"
    torch.manual_seed(0)
    spec = model_spec(dataset_spec("digits"), 2)
    model = build_model("Customresnet8", **vars(spec))
    set_random_masks(model, [200] * len(relu_sites(model)), seed=0)
    more = {"dataset": "digits", "stage": 2, "trained_branches": [0, 1], "args": {"select_on": "test"}}
    save_checkpoint(path, Checkpoint(**describe_model("Customresnet8", model), **more))
    record = {"epoch": 1, "loss": 2.0, "TA": {"0": 10.0}, "ATA": {"1": 5.0}, "learning_rate": 0.1}
    (path.parent / "log.jsonl").write_text(json.dumps(record) + "\n")
    return path


def command(checkpoint: Path, save_dir: Path, more: str = "") -> str:
    return f"validate_common_corruptions.py --path {checkpoint} {SMALL} --save_dir {save_dir} {more}"


def results(save_dir: Path) -> dict:
    (path,) = save_dir.rglob("results.json")
    return json.loads(path.read_text())


def measured(save_dir: Path) -> dict:
    (path,) = save_dir.rglob("measurements.json")
    return json.loads(path.read_text())["cells"]


@pytest.fixture(scope="module")
def evaluated(checkpoint, tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("evaluated")
    return folder, run(command(checkpoint, folder, f"{CELLS} --restarts 2"))


def test_everything_is_written(evaluated):
    folder, output = evaluated
    found = results(folder)
    accuracy = found["accuracy"]
    assert accuracy["images"] == 32
    assert list(accuracy["attacks"]) == ["fgsm", "pgd"]
    assert accuracy["AdvA"] == accuracy["attacks"]["pgd"]
    assert found["attack"] | {"name": "pgd", "steps": 2, "restarts": 2} == found["attack"]
    assert list(accuracy["corruptions"]["1"]) == ["gaussian_noise", "frost", "fog"]
    assert all(len(row) == 2 for rows in accuracy["corruptions"].values() for row in rows.values())
    assert "NPA" not in accuracy  # the mean over a part of the benchmark is no NPA
    assert found["corrupted_images"]["origin"] == "generated on the fly"
    assert any("chosen on the test set" in sentence for sentence in found["warnings"])
    assert "Warning: the checkpoint's epoch was chosen on the test set" in output
    assert "frost (procedural)" in output
    assert output.startswith(
        "evaluation: Customresnet8 on digits, 2 trained branches; 355 test images, the first 2 batches; FGSM at 8/255, "
        "PGD-2 at 8/255, 2 restarts; 3 corruptions at 2 severities, generated on the fly with seed 0, frost procedural"
    )
    # Results as they come.
    said = [line.partition(":")[0] for line in output.splitlines() if re.search(r": \d.* % \(branch \d\)$", line)]
    assert said == ["clean", "FGSM", "FGSM", "PGD", "PGD", "Gaussian noise", "frost (procedural)", "fog"]
    assert not re.search(r"^frost\s+\d", output, re.MULTILINE)
    (table,) = folder.rglob("results.csv")
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 2 * (1 + 2 + 6)
    (row,) = [row for row in rows if row["corruption"] == "fog" and row["severity"] == "5" and row["branch"] == "1"]
    assert float(row["value"]) == accuracy["corruptions"]["1"]["fog"][1]
    figures = {path.stem for path in (table.parent / "figures").glob("*.png")}
    assert figures == {path.stem for path in (table.parent / "figures").glob("*.pdf")}
    assert figures >= {"corruption_heatmap_branch0", "severity", "relus_per_layer", "mask_maps", "examples"}
    assert "training_curves" in figures


def test_more_options_add_and_nothing_is_measured_twice(checkpoint, evaluated, tmp_path):
    folder, _ = evaluated
    (file,) = folder.rglob("measurements.json")
    copy = tmp_path / "measurements.json"
    content = json.loads(file.read_text())
    (key,) = [key for key in content["cells"] if key.startswith("fog 5")]
    content["cells"][key]["CA"]["0"] = 12.34  # a figure that a new measurement would not give
    copy.write_text(json.dumps(content))
    options = f"{CELLS} --restarts 2 --no_figures --resume {copy}"
    output = run(command(checkpoint, tmp_path, options))
    assert f"{len(content['cells'])} measurements of these weights are already in" in output
    assert json.loads(copy.read_text()) == content
    assert results(tmp_path)["accuracy"]["corruptions"]["0"]["fog"][1] == 12.34
    run(command(checkpoint, tmp_path, f"{options} --restarts 1"))
    assert len(json.loads(copy.read_text())["cells"]) == len(content["cells"]) + 2


def test_attacks_through_the_adversarial_branch_alone_add_to_what_is_known(checkpoint, evaluated, tmp_path):
    options = f"--corruptions none --restarts 2 --no_figures --attack_branches adversarial --run_name {tmp_path.name}"
    output = run(command(checkpoint, tmp_path, options))
    found, whole = results(tmp_path), results(evaluated[0])["accuracy"]
    assert found["accuracy"]["attacks"] == {name: {"1": whole["attacks"][name]["1"]} for name in ("fgsm", "pgd")}
    assert found["accuracy"]["CA"] == whole["CA"]
    assert found["single_branch"]["branch"] == 1
    assert found["single_branch_rule"].endswith("of the attacked ones")
    assert re.search(r"student.pth\s+0\s+\d+\.\d+\s+-\s+-$", output, re.MULTILINE)
    known = measured(tmp_path)
    run(command(checkpoint, tmp_path, options.replace("adversarial", "all")))
    assert results(tmp_path)["accuracy"]["attacks"] == whole["attacks"]
    assert measured(tmp_path).items() > known.items()
    page = run(f"report.py {tmp_path}/validation/{tmp_path.name} --out {tmp_path}/report.html")
    assert "report.html" in page


def test_the_whole_table_gives_the_npa_and_errors_against_a_baseline(checkpoint, tmp_path):
    options = "--generate --attack_mode none --no_figures"
    run(command(checkpoint, tmp_path / "a", options))
    (baseline,) = (tmp_path / "a").rglob("results.json")
    accuracy = results(tmp_path / "a")["accuracy"]
    assert accuracy["NPA"]["1"] == pytest.approx(mean(mean(row) for row in accuracy["corruptions"]["1"].values()))
    assert "attacks" not in accuracy
    output = run(command(checkpoint, tmp_path / "a", f"{options} --baseline {baseline}"))
    again = results(tmp_path / "a")["accuracy"]
    assert again["mCE"]["0"] == 100
    assert "mCE %" in output
    assert len(measured(tmp_path / "a")) == 2 + 75


def test_killed_and_started_again_gives_the_same(checkpoint, evaluated, tmp_path):
    process = start(command(checkpoint, tmp_path, f"{CELLS} --restarts 2"))
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        files = list(tmp_path.rglob("measurements.json"))
        if files and len(json.loads(files[0].read_text())["cells"]) >= 4:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = measured(tmp_path)
    assert len(done) < len(measured(evaluated[0]))
    run(command(checkpoint, tmp_path, f"{CELLS} --restarts 2"))
    assert measured(tmp_path) == measured(evaluated[0])
    assert results(tmp_path)["accuracy"] == results(evaluated[0])["accuracy"]
    assert results(tmp_path)["warnings"] == results(evaluated[0])["warnings"]


def test_two_processes_measure_what_one_does(checkpoint, tmp_path, unused_tcp_port):
    # 355 images: six batches of 51, and one of 49 that the two processes share unevenly.
    options = f"--path {checkpoint} --steps 2 --batch_size 51 --num_workers 0 --device cpu --no_figures {CELLS}"
    run(f"validate_common_corruptions.py {options} --save_dir {tmp_path}/one")
    run_two(f"validate_common_corruptions.py {options} --save_dir {tmp_path}/two", unused_tcp_port)
    one, two = results(tmp_path / "one"), results(tmp_path / "two")
    assert one["accuracy"]["images"] == 355
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["accuracy"] == two["accuracy"]
    assert measured(tmp_path / "one") == measured(tmp_path / "two")


def test_bad_input_is_one_line(checkpoint, evaluated, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "other.json").write_text('{"schema": "something"}')
    (baseline,) = evaluated[0].rglob("results.json")
    for options, words in {
        "--dataset cifar10": ["cifar10 contradicts", "digits"],
        "--corruptions fogg": ["fogg", "fog", "common"],
        "--severities 6": ["--severities", "6"],
        f"--corruption_dir {tmp_path}/none": ["no ", "make_corruptions.py"],
        f"--corruption_dir {empty}": ["is empty"],
        "--generate --frost_dir /nowhere": ["/nowhere"],
        f"--baseline {tmp_path}/none.json": ["none.json", "no such JSON file"],
        f"--baseline {tmp_path}/other.json": ["something", "rlnet-results"],
        f"--resume {tmp_path}/none.json": ["no such file"],
        f"--baseline {baseline} --select_on heldout {CELLS.removeprefix('--generate')}": [
            "no corrupted images",
            "held-out",
        ],
        "--restarts 0": ["--restarts", "0 is not 1 or more"],
        "--attack_mode apgd": ["apgd", "autoattack"],
    }.items():
        line = fails(command(checkpoint, tmp_path / "out", options))
        assert all(word in line for word in words), line
    assert not list(tmp_path.rglob("results.json"))


def test_a_file_made_by_hand_needs_its_data_set_said(checkpoint, tmp_path):
    bare = tmp_path / "bare.pth"
    stored = torch.load(checkpoint, weights_only=True)
    torch.save({key: stored[key] for key in ("format", "version", "model", "state_dict")}, bare)
    assert "bare.pth does not name its data set; add --dataset" in fails(command(bare, tmp_path / "out"))
    run(command(bare, tmp_path / "out", "--dataset digits --attack_mode none --no_figures"))
    assert results(tmp_path / "out")["trained_branches"] == [0]


def test_autoattack_says_how_to_install_it(checkpoint, monkeypatch):
    import validate_common_corruptions as script
    from attacks import autoattack
    from evaluation.settle import settle
    from helper.errors import UserError

    monkeypatch.setattr(autoattack, "find_spec", lambda name: None)
    args = script.parse_args(f"--path {checkpoint} --attack_mode autoattack".split())
    with pytest.raises(UserError, match=r"pip install -r requirements-attacks\.txt"):
        settle(args, read_checkpoint(checkpoint))


def test_evenly_spaced_images_are_the_same_ones_in_every_measurement(checkpoint, tmp_path):
    """Those of a corrupted set are the spaced images corrupted, whether it is read or made on the fly."""
    made = f"{tmp_path}/digits-C"
    run(f"make_corruptions.py --dataset digits --corruptions fog --severities 1 2 --out {made}")
    cells = "--attack_mode fgsm --corruptions fog --severities 2 --images 40 --no_figures"
    for name, more in (("made", "--generate"), ("read", f"--corruption_dir {made}")):
        run(command(checkpoint, tmp_path / name, f"{cells} {more}").replace("--limit_val_batches 2", ""))
    one, two = results(tmp_path / "made"), results(tmp_path / "read")
    assert one["accuracy"] == two["accuracy"]
    assert one["accuracy"]["images"] == 40
    assert all("images 40, of all 355" in cell for cell in measured(tmp_path / "made"))
