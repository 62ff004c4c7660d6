"""What a page says of runs together: seeds, private costs, overlapping masks, and how sure a figure is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_report import Page, build, write_run

from formats.private_costs import SCHEMA, Estimates, PrivateCosts
from helper.errors import UserError
from helper.run_folder import MASKS
from reporting.cells import Seeds, Share, half_width
from reporting.comparability import Run
from reporting.comparison import points_of
from reporting.page import shorten_middle
from reporting.private_costs import estimated_costs, measured_costs, most_common_kind, names_of
from reporting.results import read_results
from reporting.seeds import by_configuration


@pytest.mark.parametrize(
    ("value", "images", "shown"),
    [(65.17, 10_000, "65.2 ±0.9"), (81.93, 1024, "82 ±2"), (99.4, 355, "99.4 ±1.0"), (0.0, 10_000, "0.00 ±0.02")],
)
def test_an_accuracy_has_the_decimals_that_its_images_carry(value, images, shown):
    assert str(Share(value, images)) == shown
    assert str(Share(value, images, bare=True)) == shown.partition(" ")[0]


def test_an_interval_is_wilson_s():
    # 50 of 100: 0.404 to 0.596 (Agresti and Coull, 1998).
    assert half_width(50.0, 100) == pytest.approx(9.6, abs=0.05)


def test_seeds_have_a_mean_and_a_deviation():
    assert str(Seeds((80.0, 82.0, 84.0))) == "82.0 ±2.0"


def trained(seed: int, **options: object) -> list[dict]:
    return [{"stage": 0, "file": "best.pth", "epoch": 3, "options": {"seed": seed, "epochs": 3, **options}}]


def run_of(number: int, tmp_path: Path, **changes: object) -> Run:
    folder = write_run(tmp_path / str(number), **changes)
    return Run(number, str(number), folder, read_results(folder), [])


def test_runs_are_seeds_of_each_other_where_nothing_else_differs(tmp_path):
    runs = [
        run_of(1, tmp_path, training=trained(0)),
        run_of(2, tmp_path, training=trained(1, run_name="b", data_root="elsewhere")),
        run_of(3, tmp_path, training=trained(2, learning_rate=0.5)),
        run_of(4, tmp_path, training=trained(1)),  # of a seed that is there already
        run_of(5, tmp_path, training=trained(3)),
    ]
    groups = [[run.number for run in group] for group in by_configuration(runs)]
    assert groups == [[1, 2, 5], [3], [4]]


def test_a_page_tells_the_mean_of_seeds(tmp_path):
    folders = [
        write_run(tmp_path / f"seed{seed}", training=trained(seed), oracle={"CA": 90.0 + seed, "AdvA": 40.0})
        for seed in (0, 1)
    ]
    table = Page(build(tmp_path / "report.html", *folders)).tables[1]
    assert [cell[2] for cell in table[-1]] == ["1, 2", "resnet8", "2", "180", "90.5 ±0.7", "40.00 ±0.00"]


RECORD = {
    "file": "save/student.pth",
    "sha256": "ab" * 32,
    "branch": 1,
    "label": "Customresnet8, 1,000 ReLUs",
    "model": "Customresnet8",
    "relus": {"kept": 1000, "total": 4000},
    "accuracy": {"source": "validation", "images": 100, "CA": 80.0, "NPA": None, "AdvA": 40.0},
}
TOTAL = {"upload": 1e7, "download": 1e7, "rounds": 300, "seconds": 3.0}
STEP = {"layer": "fc", "kind": "linear", "comparisons": 0, "cold": TOTAL, "warm": TOTAL}
ESTIMATE = {
    "protocol": "cheetah",
    "estimates": [
        {
            **RECORD,
            "network": {"name": "wan", "bandwidth": 1e8, "rtt": 0.04},
            "bytes": 2e7,
            "rounds": 300,
            "seconds": {"linear": 1.0, "total": 12.5},
        }
    ],
}
MEASURED = {
    "schema": SCHEMA,
    "machine": {"processor": "an abacus", "cores": 1, "system": "sand"},
    "engine": {"protocol": "cheetah"},
    "link": {"kind": "loopback", "name": None, "bandwidth": None, "rtt": None},
    "measured": [
        {
            **RECORD,
            "costs": {"layers": [STEP], "total": {"cold": TOTAL, "warm": TOTAL}},
            "estimates": [{"name": "wan", "bandwidth": 1e8, "rtt": 0.04, "seconds": {"warm": 11.5}}],
        }
    ],
}


def test_private_costs_are_measured_here_or_estimated_for_a_link():
    measured, estimated = measured_costs(PrivateCosts.model_validate(MEASURED))
    assert (measured.link, measured.how, measured.seconds, measured.bytes) == ("this machine", "measured", 3.0, 2e7)
    assert (estimated.link, estimated.how, estimated.seconds) == ("wan", "estimated", 11.5)
    (guessed,) = estimated_costs(Estimates.model_validate(ESTIMATE))
    assert (guessed.kind, guessed.seconds, guessed.rounds) == (("cheetah", "wan", "estimated"), 12.5, 300)
    assert most_common_kind([measured, estimated, guessed]) == ("cheetah", "wan", "estimated")
    other = next(estimated_costs(Estimates.model_validate({**ESTIMATE, "protocol": "semi2k"})))
    assert [most_common_kind(pair)[0] for pair in ([guessed, other], [other, guessed])] == ["cheetah", "semi2k"]
    assert most_common_kind([]) is None


def test_a_page_of_private_costs_alone_and_beside_the_run_of_the_same_weights(tmp_path):
    (tmp_path / "estimate").mkdir()
    (tmp_path / "estimate/estimate.json").write_text(json.dumps(ESTIMATE))
    alone = build(tmp_path / "alone.html", tmp_path / "estimate")
    assert "private inference of 1 network" in alone
    row = Page(alone).tables[0][-1]
    assert [cell[2] for cell in row[:6]] == ["student", "1,000", "12.50", "20.0", "300", "cheetah"]
    assert [cell[2] for cell in row[-3:]] == ["80 ±8", "40 ±9", "100 evaluated"]
    run = write_run(tmp_path / "run", checkpoint="student.pth", checkpoint_sha256="ab" * 32)
    together = build(tmp_path / "report.html", run, tmp_path / "estimate")
    assert "Seconds: cheetah, wan, estimated." in together
    name, *_ = Page(together).tables[1][-1]
    assert name[2] == "1run"  # its number, and its name
    points, kind = points_of(
        [Run(1, "run", run, read_results(run), [])], list(estimated_costs(Estimates.model_validate(ESTIMATE)))
    )
    assert ([point.seconds for point in points], kind) == ([12.5], ("cheetah", "wan", "estimated"))


def test_networks_whose_files_have_one_name_go_by_their_folders():
    files = ("a/best.pth", "b/best.pth", "zoo/one.pth", "zoo/two.pth", "c/best.pth", "c/last.pth", "of 127.0.0.1:9500")
    (cost,) = estimated_costs(Estimates.model_validate(ESTIMATE))
    costs = [replace(cost, file=file) for file in files]
    assert list(names_of(costs).values()) == ["a", "b", "one", "two", "c/best", "last", "of 127.0.0.1:9500"]


def test_masks_of_several_runs_are_held_against_each_other(tmp_path):
    folders = []
    for number in range(2):
        folders.append(write_run(tmp_path / str(number)))
        masks = np.zeros((2, 4, 4), bool)
        masks[number] = True
        np.savez_compressed(folders[-1] / MASKS, **{"layer0.relu": masks})
    assert "Overlap of masks by layer" in build(tmp_path / "report.html", *folders)
    (folders[0] / MASKS).write_bytes(b"no masks")
    with pytest.raises(UserError, match=r"masks\.npz: not .* or a damaged one"):
        build(tmp_path / "other.html", *folders)


def test_a_long_name_is_short_in_tables_and_whole_when_pointed_at(tmp_path):
    name = "S:CustomResNet18_T1:ResNet18_cifar10_relu82k_augmix"
    page = Page(build(tmp_path / "report.html", write_run(tmp_path / name), write_run(tmp_path / "other")))
    cell = page.tables[0][2][0]
    assert shorten_middle(name, 28) in cell[2].replace("\u200b", "")
    assert len(shorten_middle(name, 28)) == 28
    assert page.text.count(name) >= 1


def test_where_figures_come_from_is_told_in_words(tmp_path):
    recipe = trained(3, robust_train_mode="rslad+ce", attack_mode="pgd", eps=8 / 255, use2BN=True, relu_budget=1000)
    recipe[0] |= {"stage": 1, "hours": 0.5}
    recipe[0]["options"]["select_on"] = "heldout"
    run = write_run(tmp_path / "run", training=recipe, versions={"python": "3.11", "rlnet": "0123456789ab"})
    text = Page(build(tmp_path / "report.html", run)).text
    for words in (
        "stage 1, mask search",
        "epoch 3 of 3, 30 min, mode rslad+ce, pgd at 8/255, 2 branches, budget 1000, "
        "best epoch on held-out images, seed 3",
        "this project at 0123456789ab, python 3.11",
    ):
        assert words in text
