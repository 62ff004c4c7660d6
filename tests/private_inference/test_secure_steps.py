"""Every kind of step as the secure engine compiles it, against PyTorch: the arithmetic alone, in plain jax."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.running import ROOT
from support.secure_runs import needs_engine

from private_inference.engine.parties import ENGINE_PYTHON
from private_inference.program.gather import plan
from private_inference.program.npz_file import write_program
from private_inference.program.plaintext import run
from private_inference.program.steps import INPUT, KINDS, Program, Step

pytestmark = needs_engine

BATCH = 2
TOLERANCE = 1e-4
RANDOM = np.random.default_rng(11)

# Runs in the engine's environment, which has no PyTorch: all programs of a folder, jitted as the engine does it.
IN_JAX = """
import json, sys
from pathlib import Path
import jax, numpy as np
from private_inference.program.npz_file import load_program
from private_inference.program.steps import INPUT
from private_inference.engine.secure_steps import secure_step

folder = Path(sys.argv[1])
found, kinds = {}, {}
for path in sorted(folder.glob("*.program.npz")):
    name = path.name.removesuffix(".program.npz")
    program, _ = load_program(path)
    values = {INPUT: np.load(folder / f"{name}.npy")}
    for step in program.steps:
        arrays = [array for key, array in step.arrays.items() if key != "mask"]
        values[step.output] = jax.jit(secure_step(step))(*[values[key] for key in step.inputs], *arrays)
    found[name] = np.asarray(values[program.output])
np.savez(folder / "found.npz", **found)
print(json.dumps([name for name in sys.modules if name.partition(".")[0] in ("torch", "torchvision")]))
"""


def floats(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape, dtype=np.float32)


def conv(kernel: tuple[int, int], stride=(1, 1), padding=(0, 0), groups: int = 1, outputs: int = 6) -> Step:
    arrays = {"weight": floats(outputs, 6 // groups, *kernel), "bias": floats(outputs)}
    return Step("conv", (INPUT,), "y", "y", arrays, {"stride": stride, "padding": padding, "groups": groups})


def pool(kind: str, kernel: tuple[int, int], stride: tuple[int, int], *padding: tuple[int, int]) -> Step:
    settings = {"kernel": kernel, "stride": stride} | ({"padding": padding[0]} if padding else {})
    return Step(kind, (INPUT,), "y", "y", {}, settings)


def relu(mask: np.ndarray | None = None) -> Step:
    return Step("relu", (INPUT,), "y", "y", {} if mask is None else {"mask": mask})


def by_channel(*shares: float) -> np.ndarray:
    """A mask of 40x60 maps that keeps this share of each channel."""
    return np.stack([RANDOM.random((40, 60)) < share for share in shares])


MAP, LARGE = (6, 9, 7), (4, 40, 60)
one_position = np.zeros(MAP, dtype=bool)
one_position[3, 2, 5] = True
# name: (shape of the images, steps)
CASES: dict[str, tuple[tuple[int, ...], list[Step]]] = {
    "conv": (MAP, [conv((3, 3))]),
    "conv_padded": (MAP, [conv((3, 3), padding=(1, 1), outputs=4)]),
    "conv_strided": (MAP, [conv((3, 3), stride=(2, 2), padding=(1, 1))]),
    "conv_oblong": (MAP, [conv((1, 3), stride=(2, 1), padding=(0, 2))]),
    "conv_pointwise": (MAP, [conv((1, 1), outputs=9)]),
    "conv_grouped": (MAP, [conv((3, 3), stride=(2, 2), padding=(1, 1), groups=3, outputs=9)]),
    "conv_depthwise": (MAP, [conv((3, 3), padding=(1, 1), groups=6)]),
    "conv_depthwise_strided": (MAP, [conv((3, 2), stride=(2, 3), padding=(0, 1), groups=6)]),
    "conv_depthwise_twice_as_wide": (MAP, [conv((3, 3), padding=(1, 1), groups=6, outputs=12)]),
    "linear": ((12,), [Step("linear", (INPUT,), "y", "y", {"weight": floats(5, 12), "bias": floats(5)})]),
    "affine": (MAP, [Step("affine", (INPUT,), "y", "y", {"scale": floats(6, 1, 1), "bias": floats(6, 1, 1)})]),
    "shift_of_channels": (MAP, [Step("shift", (INPUT,), "y", "y", {"bias": floats(6, 1, 1)})]),
    "shift_of_positions": (MAP, [Step("shift", (INPUT,), "y", "y", {"bias": floats(*MAP)})]),
    "add": (MAP, [Step("shift", (INPUT,), "x", "x", {"bias": floats(*MAP)}), Step("add", (INPUT, "x"), "y", "y")]),
    "add_twice_the_same": (MAP, [Step("add", (INPUT, INPUT), "y", "y")]),
    "relu": (MAP, [relu()]),
    "relu_sparse": (MAP, [relu(RANDOM.random(MAP) < 0.1)]),
    "relu_dense": (MAP, [relu(RANDOM.random(MAP) < 0.9)]),
    "relu_one_position": (MAP, [relu(one_position)]),
    "relu_full_mask": (MAP, [relu(np.ones(MAP, dtype=bool))]),
    "relu_channels": (LARGE, [relu(by_channel(1, 0, 0, 1))]),
    "relu_mixed": (LARGE, [relu(by_channel(0, 0, 0.3, 1))]),
    "relu_nothing_of_two_channels": (LARGE, [relu(by_channel(0.5, 0, 0, 0.05))]),
    "average_pool": (MAP, [pool("average_pool", (2, 3), (2, 2))]),
    "average_pool_overlapping": (MAP, [pool("average_pool", (3, 3), (1, 1))]),
    "average_pool_global": (MAP, [pool("average_pool", (9, 7), (9, 7))]),
    "max_pool": (MAP, [pool("max_pool", (2, 2), (2, 2), (0, 0))]),
    "max_pool_padded": (MAP, [pool("max_pool", (3, 3), (2, 2), (1, 1))]),
    "max_pool_oblong": (MAP, [pool("max_pool", (3, 2), (1, 2), (1, 0))]),
    "flatten": (MAP, [Step("flatten", (INPUT,), "y", "y")]),
}
IMAGES = {name: floats(BATCH, *shape) for name, (shape, _) in CASES.items()}
# All below zero: what pads a window must not win.
IMAGES["max_pool_padded"] = -1 - np.abs(IMAGES["max_pool_padded"])


def program(name: str) -> Program:
    shape, steps = CASES[name]
    return Program(shape, tuple(steps))


@pytest.fixture(scope="module")
def in_jax(tmp_path_factory) -> Iterator[dict[str, np.ndarray]]:
    """By case, what the engine's functions give; one process for all, for its imports take longer than its sums."""
    folder: Path = tmp_path_factory.mktemp("cases")
    for name, images in IMAGES.items():
        np.save(folder / f"{name}.npy", images)
        with open(folder / f"{name}.program.npz", "wb") as file:
            write_program(file, program(name), {})
    words = [str(ENGINE_PYTHON), "-c", IN_JAX, str(folder)]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == []  # no PyTorch was wanted
    with np.load(folder / "found.npz") as found:
        yield dict(found)


@pytest.mark.parametrize("name", CASES)
def test_a_step_is_what_pytorch_makes_of_it(in_jax, name: str) -> None:
    expected = run(program(name), IMAGES[name])
    assert in_jax[name].shape == expected.shape
    np.testing.assert_allclose(in_jax[name], expected, atol=TOLERANCE)


def test_every_kind_of_step_and_of_gather_is_among_the_cases() -> None:
    steps = [step for _, steps in CASES.values() for step in steps]
    assert {step.kind for step in steps} == set(KINDS)
    plans = {name: plan(CASES[name][1][0].arrays["mask"]) for name in CASES if name.startswith("relu_")}
    pieces = {name: {piece.kind for piece in found.pieces} for name, found in plans.items()}
    assert pieces["relu_sparse"] == {"mixed"}
    assert pieces["relu_full_mask"] == {"relu"}
    assert pieces["relu_channels"] == {"relu", "identity"}
    assert pieces["relu_mixed"] == {"identity", "mixed", "relu"}
    assert pieces["relu_nothing_of_two_channels"] == {"mixed", "identity"}
