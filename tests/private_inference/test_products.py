"""Convolutions as matrix products: every layout gives the same, and the cheapest is chosen from public shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.secure_runs import needs_engine
from test_rings import run as run_in_engine

from private_inference.engine.products import Geometry, Layout, blocks, chosen, geometry, laid_out, load, merge_groups
from private_inference.engine.protocols import EngineSettings
from private_inference.program.plaintext import run
from private_inference.program.steps import INPUT, Program, Step

RANDOM = np.random.default_rng(7)


def conv(channels: int, outputs: int, groups: int = 1, stride: int = 1) -> Step:
    weight = 0.1 * RANDOM.standard_normal((outputs, channels // groups, 3, 3), dtype=np.float32)
    arrays = {"weight": weight, "bias": RANDOM.standard_normal(outputs, dtype=np.float32)}
    settings = {"stride": (stride, stride), "padding": (1, 1), "groups": groups}
    return Step("conv", (INPUT,), "y", "y", arrays, settings)


@pytest.mark.parametrize(("groups", "merged"), [(6, 2), (6, 6), (3, 3), (2, 1)])
def test_merged_groups_are_the_same_convolution(groups: int, merged: int) -> None:
    step = conv(6, 12, groups)
    weight = merge_groups(step.arrays["weight"], groups, merged)
    settings = {**step.settings, "groups": groups // merged}
    other = replace(step, arrays={**step.arrays, "weight": weight}, settings=settings)
    images = RANDOM.random((2, 6, 5, 5), dtype=np.float32)
    mine, theirs = (run(Program((6, 5, 5), (each,)), images) for each in (step, other))
    np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_tiles_are_those_that_were_measured() -> None:
    """Ciphertexts that were counted in the engine's messages: of the first and of the last stage of a resnet20."""
    down, across, along = blocks(1024, 144, 16)
    assert (min(down, along) * across, down * along) == (2, 256)
    down, across, along = blocks(64, 576, 64)
    assert (min(down, along) * across, down * along) == (5, 64)


def test_layouts_are_chosen_by_price() -> None:
    stage = Geometry(1, 16, 16, 9, 34 * 34, 1024)
    assert chosen(stage, False, "semi2k", 1) == Layout("taps")
    assert chosen(stage, False, "cheetah", 1) == Layout("windows")
    batch = replace(stage, positions_in=8 * 34 * 34, positions_out=8192)
    assert chosen(batch, False, "cheetah", 8) == Layout("windows", cuts=(128, 16))
    taps, windows = (load(stage, Layout(kind), "semi2k")["opened"] for kind in ("taps", "windows"))
    assert taps < windows / 4
    depthwise = chosen(Geometry(96, 1, 1, 9, 34 * 34, 1024), True, "cheetah", 1)
    assert depthwise.merged > 1


def test_a_program_without_layouts_is_left_as_it_is() -> None:
    step = conv(6, 6, groups=6)
    program = Program((6, 5, 5), (step,))
    plain = laid_out(program, EngineSettings("semi2k", layouts=False))
    assert plain.steps[0].settings["layout"] == Layout("elementwise")
    assert plain.steps[0].arrays["weight"] is step.arrays["weight"]


# (protocol, channels in and out, groups, side, stride, batch, the kind of layout that is chosen, whether it is cut, the
# largest input)
CASES = [
    ("semi2k", 4, 6, 1, 9, 2, 2, "taps", False, 1),
    ("semi2k", 6, 6, 6, 8, 1, 1, "taps", False, 10_000),
    ("cheetah", 16, 16, 1, 32, 1, 2, "windows", True, 10_000),
    ("cheetah", 16, 16, 16, 24, 2, 1, "windows", False, 1),
]


@needs_engine
@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "channels", "outputs", "groups", "side", "stride", "batch", "kind", "cut", "largest"), CASES
)
def test_a_layout_in_the_engine_is_the_convolution(
    tmp_path, protocol, channels, outputs, groups, side, stride, batch, kind, cut, largest
) -> None:
    step, shape = conv(channels, outputs, groups, stride), (channels, side, side)
    known = (outputs, -(-side // stride), -(-side // stride))
    found = geometry(step, shape, known, batch)
    layout = chosen(found, groups > 1, protocol, batch)
    assert (layout.kind, bool(layout.cuts)) == (kind, cut)
    images = largest * RANDOM.random((batch, *shape), dtype=np.float32)
    values = np.round(images * 2.0**18).astype(np.int64)
    made = run_in_engine(tmp_path / "run", protocol, shape, [step], values) / 2.0**18
    expected = run(Program(shape, (step,)), images).ravel()
    assert (np.abs(expected).max() > 512) == (largest > 1)  # where the engine's own rounding went wrong
    np.testing.assert_allclose(made, expected, atol=2e-3 * largest)
