"""Comparisons in 32 bits against those in 64: the same ring elements of the same random shares, in both protocols."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.running import ROOT
from support.secure_runs import needs_engine

from private_inference.costs.measurement import free_ports
from private_inference.engine.parties import ENGINE_PYTHON
from private_inference.program.npz_file import write_program
from private_inference.program.steps import INPUT, Program, Step

pytestmark = needs_engine

PROTOCOLS = ("cheetah", "semi2k")
LIMIT = 2**31  # in ring elements
EDGES = np.array([0, 1, -1, 2, -2, LIMIT - 1, 1 - LIMIT, LIMIT - 2, -LIMIT, 2**18, -(2**18), 2**30, -(2**30)])


def some_values(count: int, seed: int = 3) -> np.ndarray:
    """Ring elements below the limit, of every size: bits first, then digits; the edges among them, many times."""
    random = np.random.default_rng(seed)
    sizes = 2.0 ** random.uniform(0, 31, count)
    values = np.clip(np.round(sizes * random.uniform(-1, 1, count)), 1 - LIMIT, LIMIT - 1).astype(np.int64)
    places = random.permutation(count)[: count // 4]
    values[places] = np.resize(EDGES, len(places))
    return values


def run(folder: Path, protocol: str, shape: tuple[int, ...], steps: list[Step], values: np.ndarray) -> np.ndarray:
    """The ring elements that `steps` make of `values` (B, ...), as both parties hold them together, flat."""
    folder.mkdir()
    np.save(folder / "values.npy", values)
    with open(folder / "program.npz", "wb") as file:
        write_program(file, Program(shape, tuple(steps)), {})
    script = ROOT / "tests" / "support" / "in_engine.py"
    words = [str(ENGINE_PYTHON), str(script), str(folder), protocol, *map(str, free_ports(2))]
    ended = subprocess.run(
        words, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=400
    )
    assert ended.returncode == 0, ended.stderr.decode()[-2000:]
    shares = [np.load(folder / f"{rank}.npz")["output"] for rank in range(2)]
    return shares[0] + shares[1]


def relu(bits: int, mask: np.ndarray | None = None) -> Step:
    return Step("relu", (INPUT,), "y", "y", {} if mask is None else {"mask": mask}, {"bits": bits})


def max_pool(bits: int) -> Step:
    settings = {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1), "bits": bits}
    return Step("max_pool", (INPUT,), "y", "y", {}, settings)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_million_signs_are_those_of_64_bits(tmp_path, protocol: str) -> None:
    shape = (4, 500, 500)
    values = some_values(1_000_000).reshape(1, *shape)
    narrow, wide = (run(tmp_path / str(bits), protocol, shape, [relu(bits)], values) for bits in (32, 64))
    np.testing.assert_array_equal(wide, np.maximum(values, 0).ravel())
    np.testing.assert_array_equal(narrow, wide)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_beyond_the_limit_a_sign_is_wrong_and_nothing_tells_so(tmp_path, protocol: str) -> None:
    """What private_inference/program/comparison.py is there to prevent."""
    inside = np.array([LIMIT - 1, -LIMIT, 5, -5])
    outside = np.array([LIMIT, LIMIT + 7, -LIMIT - 1, 3 * LIMIT // 2])
    values = np.stack([inside, outside])
    narrow, wide = (
        run(tmp_path / str(bits), protocol, (4, 1, 1), [relu(bits)], values.reshape(2, 4, 1, 1)).reshape(2, 4)
        for bits in (32, 64)
    )
    np.testing.assert_array_equal(wide, np.maximum(values, 0))
    np.testing.assert_array_equal(narrow[0], wide[0])
    assert (narrow[1] != wide[1]).all()


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_masked_relus_and_max_pooling_in_32_bits(tmp_path, protocol: str) -> None:
    shape = (3, 9, 8)
    values = some_values(2 * 216).reshape(2, *shape)
    mask = np.random.default_rng(1).random(shape) < 0.3
    found = run(tmp_path / "relu", protocol, shape, [relu(32, mask)], values).reshape(values.shape)
    np.testing.assert_array_equal(found, np.where(mask, np.maximum(values, 0), values))
    half = values // 4  # of which differences stay within the limit
    narrow, wide = (run(tmp_path / f"pool{bits}", protocol, shape, [max_pool(bits)], half) for bits in (32, 64))
    np.testing.assert_array_equal(narrow, wide)
    assert len(np.unique(wide)) > 20
