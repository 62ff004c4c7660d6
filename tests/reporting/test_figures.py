"""Figures carry the numbers they are given, do without what was not measured, and become whole files."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from support.figures import words
from support.result_examples import epoch_of, results_of

from helper.errors import UserError
from reporting import figure_style
from reporting.figures import (
    Example,
    accuracy_against_severity,
    corruption_heatmap,
    example_images,
    mask_maps,
    relus_per_layer,
    run_figures,
    save_figure,
    save_figures,
    training_curves,
)


def test_the_heat_map_carries_the_numbers_of_the_table():
    results = results_of(corrupted_images={"origin": "generated", "frost": "procedural"})
    found = words(corruption_heatmap(results, "1"))
    rows = results.accuracy.corruptions["1"]
    for row in rows.values():
        assert all(f"{value:.1f}" in found for value in (*row, mean(row)))
    assert f"{mean(map(mean, rows.values())):.1f}" in found
    order = ["Gaussian noise", "zoom blur", "frost (procedural)", "JPEG compression", "mean"]
    assert [text for text in found if text in order][: len(order)] == order


def test_what_the_benchmark_does_not_have_stays_out_of_its_mean():
    results = results_of(branches=(0,))
    before = accuracy_against_severity([results]).axes[0].lines[0].get_ydata()
    results.accuracy.corruptions["0"]["spatter"] = [0.0] * 5
    after = accuracy_against_severity([results]).axes[0].lines[0].get_ydata()
    assert list(before) == list(after)
    results.accuracy.corruptions["0"] |= dict.fromkeys(("speckle_noise", "saturate"), [0.0] * 5)
    assert "Extra" in words(corruption_heatmap(results, 0))


def test_severity_has_a_line_a_branch_or_a_line_a_run():
    one = accuracy_against_severity([results_of()]).axes[0].lines
    assert [line.get_ydata()[0] for line in one] == [90.0, 89.0]
    several = accuracy_against_severity([results_of(), results_of(corruptions=False), results_of()], list("abc"))
    assert [line.get_label() for line in several.axes[0].lines] == ["a", "c"]


@pytest.mark.parametrize("layers", [1, 60])
def test_bars_add_up_to_the_layers(layers: int):
    bars = relus_per_layer(results_of(kept=25, layers=layers).relus).axes[0].patches
    assert [bar.get_width() for bar in bars] == pytest.approx([0.025] * layers + [0.075] * layers)
    assert len(relus_per_layer(results_of(kept=100, layers=layers).relus).axes[0].patches) == layers


def test_run_figures_are_those_that_the_data_allow():
    everything = run_figures(results_of(), [epoch_of(1)])
    heat_maps = {"corruption_heatmap_branch0", "corruption_heatmap_branch1"}
    assert everything.keys() == heat_maps | {"severity", "relus_per_layer", "training_curves"}
    assert run_figures(results_of(corruptions=False), []).keys() == {"relus_per_layer"}


def test_training_curves_of_one_epoch_and_of_a_mask_that_came_to_rest():
    assert len(training_curves([epoch_of(1)]).axes) == 4
    records = [epoch_of(n, at_aug=1e-4, **({"mask_distance": 20.0} if n < 3 else {})) for n in range(1, 31)]
    losses, attention, *_, moved = training_curves(records).axes
    assert list(moved.lines[0].get_ydata()) == [20.0, 20.0]
    assert [line.get_label() for line in attention.lines] == ["attention, AugMix"]
    assert not any("attention" in line.get_label() for line in losses.lines)


def test_groups_of_a_single_row_have_no_name_beside_it():
    results = results_of(branches=(0,))
    found = words(corruption_heatmap(results, 0))
    assert not {"Noise", "Blur", "Weather", "Digital"} & set(found)


def test_averaged_weights_have_curves_of_their_own():
    raw = {"TA": {"0": 80.0, "1": 70.0}, "ATA": {"1": 40.0}}
    averaged = {"TA_ema": {"0": 82.0, "1": 72.0}, "ATA_ema": {"1": 42.0}}
    *_, tested, _ = training_curves([epoch_of(n, **raw, **averaged) for n in (1, 2)]).axes
    assert {line.get_label(): line.get_ydata()[1] for line in tested.lines} == {
        **{"clean, branch 0": 80.0, "clean, branch 1": 70.0, "under attack, branch 1": 40.0},
        **{"clean, branch 0, averaged": 82.0, "clean, branch 1, averaged": 72.0},
        "under attack, branch 1, averaged": 42.0,
    }
    looks = {(line.get_color(), line.get_linestyle()) for line in tested.lines}
    assert len(looks) == 6


def test_mask_maps_show_the_share_of_channels_and_the_counts():
    masks = {f"relu{n}": np.ones((16, 32, 32), bool) for n in range(7)}
    masks["relu1"] = np.broadcast_to(np.arange(16)[:, None, None] < 4, (16, 32, 32))
    figure = mask_maps(masks, ["relu1"])
    assert "4,096 of 16,384 (25.0 %)" in figure.axes[0].get_title(loc="left")
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), 25.0)
    masks["relu2"] = np.zeros((16, 32, 32), bool)
    titles = [axes.get_title(loc="left").split("\n") for axes in mask_maps(masks).axes[:4]]
    assert titles == [
        [f"relu{n}", "0 of 16,384 (0.0 %)" if n == 2 else "16,384 of 16,384 (100.0 %)"] for n in (0, 2, 4, 6)
    ]


def test_wrong_predictions_are_marked_by_a_sign_too():
    images = np.random.default_rng(0).random((2, 3, 8, 8))
    examples = [
        Example("Clean", images, ["cat", "dog"], [True, True]),
        Example("Attacked", images, ["$a$", "dog"], [False, True]),
    ]
    found = words(example_images(examples, ["cat", "dog"]))
    assert [text for text in found if text[0] in "✓✗"] == ["✓ cat", "✓ dog", r"✗ \$a\$", "✓ dog"]


def test_files_are_whole_and_the_same_every_time(tmp_path: Path):
    for name in ("best_TA0.0", "again"):
        save_figure(relus_per_layer(results_of().relus), tmp_path / name)
    for suffix, start in ((".png", b"\x89PNG\r\n\x1a\n"), (".pdf", b"%PDF-")):
        one, other = (tmp_path / f"{name}{suffix}" for name in ("best_TA0.0", "again"))
        assert one.read_bytes() == other.read_bytes()
        assert one.read_bytes().startswith(start)


def test_a_failure_leaves_the_file_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save_figure(relus_per_layer(results_of().relus), tmp_path / "figure")
    before = (tmp_path / "figure.png").read_bytes()

    def full_disk(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(UserError, match="what was there before is intact"):
        save_figure(relus_per_layer(results_of(kept=1).relus), tmp_path / "figure")
    assert (tmp_path / "figure.png").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figure.pdf", "figure.png"]


def test_figures_leave_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    figure_style.render(relus_per_layer(results_of().relus), "svg")
    assert dict(matplotlib.rcParams) == before


def test_figures_that_no_longer_belong_here_go(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    save_figures({"relus": Figure(), "again": Figure()}, tmp_path)
    save_figures({"relus": Figure()}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"relus.png", "relus.pdf", "notes.txt"}
