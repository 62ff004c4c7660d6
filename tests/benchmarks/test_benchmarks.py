"""The benchmarks run, and what they write is consistent. How fast anything is, is no matter of a test."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from types import ModuleType

import pytest
import torch

from benchmarks import bench_data, bench_eval, bench_masked_relu
from benchmarks.bench_masked_relu import FORMATS, PASSES
from dataset.corruptions import CORRUPTIONS


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """The benchmarks set their number."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def figures_of(benchmark: ModuleType, options: str, folder: Path) -> dict:
    """What `benchmark` writes; every number in it must be finished, and positive or a setting."""
    file = folder / "figures.json"
    benchmark.main(benchmark.parse_args([*options.split(), "--out", str(file)]))
    figures = json.loads(file.read_text())
    assert figures["machine"]["threads"] == 1
    assert all(math.isfinite(number) and number > 0 for number in numbers_in(figures))
    return figures


def numbers_in(value: object) -> Iterator[float]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from numbers_in(part)
    elif isinstance(value, int | float):
        yield value


def assert_speeds(found: dict, ratios: str, reference: str) -> None:
    """Speeds and ratios are those of the medians of `seconds`."""
    speeds, images = found["images_per_second"], found["images"]
    for name, times in found["seconds"].items():
        assert speeds[name] == pytest.approx(images / median(times))
        assert found[ratios][name] == pytest.approx(median(found["seconds"][reference]) / median(times))
    assert found[ratios][reference] == 1


def test_data(tmp_path: Path) -> None:
    figures = figures_of(bench_data, "--images 4 --batch_size 2 --workers 1 --repeats 2", tmp_path)
    assert list(figures["seconds"]) == ["torchvision", "workers", "device"]
    assert_speeds({**figures, "images": 4}, "times_torchvision", "torchvision")


def test_evaluation(tmp_path: Path) -> None:
    sizes = "--images 4 --attack_images 3 --corrupted_images 2 --batch_size 2 --num_workers 1"
    figures = figures_of(bench_eval, f"--model resnet8 --kept 0.5 {sizes} --steps 2 --repeats 2", tmp_path)
    for part, reference in (("clean", "plain"), ("pgd", "plain"), ("cell", "workers")):
        assert figures[part]["reference"] == reference
        assert_speeds(figures[part], "times_reference", reference)
    attack = figures["pgd"]
    for name, times in attack["seconds"].items():
        assert attack["forward_backwards_per_second"][name] == pytest.approx(3 * 2 / median(times))
        assert attack["steps_per_second"][name] == pytest.approx(2 * 2 / median(times))  # two batches
    made = figures["corruptions"]
    assert list(made["seconds"]) == list(CORRUPTIONS)
    middle = {name: median(times) for name, times in made["seconds"].items()}
    assert made["images_per_second"] == pytest.approx(
        {**{name: 2 / value for name, value in middle.items()}, "all": 2 * 15 / sum(middle.values())}
    )


def test_masked_relu(tmp_path: Path) -> None:
    figures = figures_of(bench_masked_relu, "--model resnet8 --batch_size 2 --calls 2 --repeats 2", tmp_path)
    counts = figures["sites"]
    assert sum(counts.values()) == 7
    for layout in FORMATS:
        cells = figures["layouts"][layout]
        assert list(cells) == [*counts, "network"]
        for shape in counts:
            for which in PASSES:
                found = cells[shape][which]
                for name, times in found["seconds"].items():
                    assert found["median"][name] == pytest.approx(median(times))
        for which in PASSES:
            total = cells["network"][which]["median"]
            for name in total:
                parts = (count * cells[shape][which]["median"][name] for shape, count in counts.items())
                assert total[name] == pytest.approx(sum(parts))
        for cell in cells.values():
            for which in PASSES:
                middle = cell[which]["median"]
                expected = {name: middle["relu"] / value for name, value in middle.items()}
                assert cell[which]["times_relu"] == pytest.approx(expected)
            # The site keeps nothing beside the output, which the next convolution keeps as well.
            saved = cell["saved_bytes"]
            assert saved["site"] == saved["relu"] < saved["bool"] < saved["maximum"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_where_masked_relus_differ(dtype: torch.dtype) -> None:
    found = bench_masked_relu.departures(dtype, torch.device("cpu"))
    assert found["site"] == found["masked_fill"] == found["where"] == []
    assert any(place.startswith("gradient 0.5 at 0,") for place in found["maximum"])
    assert any("nan" in place for place in found["compare"])


@pytest.mark.parametrize("benchmark", [bench_data, bench_eval, bench_masked_relu])
def test_help(benchmark: ModuleType, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="0"):
        benchmark.parse_args(["--help"])
    assert f"python -m {benchmark.__name__}" in capsys.readouterr().out
