"""A report of ReLUs says what the masks are, what they cost, and how alike they are."""

from __future__ import annotations

import json

import pytest
from support.plans import save_network
from support.running import fails, run

from masks.selection import MaskChooser, set_random_masks
from rlnet import load_model, private_cost

pytestmark = pytest.mark.slow

KEPT = [0, 100, 200, 300, 400, 500, 600]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    from models import build_model

    folder = tmp_path_factory.mktemp("networks")
    positions, channels, teacher = (build_model("resnet8", num_classes=10, image_size=32) for _ in range(3))
    set_random_masks(positions, KEPT, seed=0)
    MaskChooser([2048, *KEPT[1:]], "channel").set_random_masks(channels, seed=1)
    named = {"positions": positions, "channels": channels, "teacher": teacher}
    return {name: save_network(folder / f"{name}.pth", model) for name, model in named.items()}


def test_it_says_what_is_kept_what_it_costs_and_how_alike_masks_are(files, tmp_path):
    out = tmp_path / "report.json"
    said = run(f"relu_report.py {' '.join(map(str, files.values()))} --out {out} --figures {tmp_path}/figures")
    assert "1 of 7 ReLU layers are closed" in said
    found = json.loads(out.read_text())
    assert found["network"]["name"] == "wan"
    positions, channels, teacher = found["networks"]
    assert [layer["kept"] for layer in positions["relus"]["layers"]] == KEPT
    closed, first, *_ = positions["relus"]["layers"]
    assert (closed["private"], closed["linear_channels"]) == (None, closed["channels"])
    assert first["private"]["rounds"] > 0
    assert channels["relus"]["layers"][0]["linear_channels"] == 14  # two of 16 channels of 1,024 ReLUs
    assert all(layer["linear_channels"] == 0 for layer in teacher["relus"]["layers"])
    cost = private_cost(load_model(files["positions"]), "cheetah", "wan")
    assert positions["private"]["seconds"]["total"] == pytest.approx(cost["seconds"]["total"])
    with_teacher = found["overlap"][1]
    assert with_teacher["of"] == [1, 3]
    assert with_teacher["iou"] == pytest.approx(sum(KEPT) / 73_728)
    names = {path.name for path in (tmp_path / "figures").glob("*.png")}
    assert names == {"masks.png", "overlap.png", "relus_1.png", "relus_2.png", "relus_3.png"}


def test_what_is_no_checkpoint_or_branch_is_one_line(files, tmp_path):
    (tmp_path / "text.pth").write_text("no checkpoint")
    assert "not a checkpoint" in fails(f"relu_report.py {files['teacher']} {tmp_path}/text.pth")
    assert "--branch 1" in fails(f"relu_report.py {files['teacher']} --branch 1")
