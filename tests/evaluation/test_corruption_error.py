"""mCE and relative mCE against their formulas by hand."""

from __future__ import annotations

import copy

import pytest
from support.result_examples import results_of

from evaluation.corruption_error import baseline_warnings, check_baseline, corruption_errors, quotients
from formats.measured import Origin
from formats.results import Results
from helper.errors import UserError

ACCURACY = {
    "images": 100,
    "CA": {"0": 90.0, "1": 80.0},
    "corruptions": {"0": {"fog": [80.0, 60.0], "snow": [70.0, 50.0]}, "1": {"fog": [1.0, 1.0], "snow": [1.0, 1.0]}},
    "severities": [1, 5],
}
ORIGIN = Origin(origin="generated", folder="a", seed=0, frost="photographs")


def baseline(accuracy: dict = ACCURACY) -> Results:
    return results_of(dataset="cifar10", accuracy=accuracy, corrupted_images=ORIGIN)


def test_by_hand():
    accuracy = {"CA": {"0": 95.0, "1": 70.0}, "corruptions": {"0": {"fog": [90.0, 65.0], "snow": [80.0, 80.0]}}}
    accuracy["corruptions"]["1"] = {"fog": [70.0, 40.0], "snow": [60.0, 40.0]}
    found, sentences = quotients(accuracy, baseline().accuracy)
    assert sentences == []
    # The baseline's clean branch: errors fog 20 + 40, snow 30 + 50; above its clean error of 10: 10 + 30, 20 + 40.
    assert found["mCE"]["0"] == pytest.approx(100 * ((10 + 35) / 60 + (20 + 20) / 80) / 2)
    assert found["mCE"]["1"] == pytest.approx(100 * ((30 + 60) / 60 + (40 + 60) / 80) / 2)
    assert found["relative_mCE"]["0"] == pytest.approx(100 * ((5 + 30) / 40 + (15 + 15) / 60) / 2)
    assert found["relative_mCE"]["1"] == pytest.approx(100 * ((0 + 30) / 40 + (10 + 30) / 60) / 2)


def test_the_baseline_against_itself_is_100():
    found, _ = quotients(ACCURACY, baseline().accuracy)
    assert found["mCE"]["0"] == found["relative_mCE"]["0"] == 100


def test_a_corruption_that_does_not_hurt_the_baseline_leaves_no_quotient():
    accuracy = copy.deepcopy(ACCURACY)
    accuracy["corruptions"]["0"]["fog"] = [95.0, 88.0]
    found, sentences = quotients(ACCURACY, baseline(accuracy).accuracy)
    assert list(found) == ["mCE"]
    assert sentences == ["no relative_mCE: fog costs the baseline nothing"]


def test_a_part_of_the_benchmark_has_none():
    found, (sentence,) = corruption_errors(ACCURACY, baseline())
    assert not found
    assert "all 15 corruptions" in sentence


@pytest.mark.parametrize(
    ("dataset", "names", "severities", "message"),
    [
        ("digits", ["fog", "snow"], [1, 5], "is on cifar10, this network is on digits"),
        ("cifar10", ["fog"], [1, 5], r"has 2 corruptions at severities \[1, 5\], this evaluation 1"),
        ("cifar10", ["fog", "snow"], [1, 2], r"this evaluation 2 at \[1, 2\]"),
    ],
)
def test_a_baseline_of_something_else_is_refused(dataset, names, severities, message):
    check_baseline(baseline(), "b.json", "cifar10", ["fog", "snow"], [1, 5])
    with pytest.raises(UserError, match=message):
        check_baseline(baseline(), "b.json", dataset, names, severities)
    without = baseline({"images": 100, "CA": {"0": 90.0, "1": 80.0}})
    with pytest.raises(UserError, match=r"b\.json has no corruption table"):
        check_baseline(without, "b.json", "cifar10", ["fog", "snow"], [1, 5])


def test_what_is_not_quite_comparable_is_told():
    assert baseline_warnings(100, ORIGIN, baseline()) == []
    same_bytes = Origin(origin="generated on the fly", seed=0, frost="photographs")
    assert baseline_warnings(100, same_bytes, baseline()) == []
    first, second = baseline_warnings(50, same_bytes.model_copy(update={"frost": "procedural"}), baseline())
    assert "frost procedural" in first
    assert "100 images, this network on 50" in second
    assert "(published, in a)" in baseline_warnings(100, Origin(origin="published", folder="a"), baseline())[0]
