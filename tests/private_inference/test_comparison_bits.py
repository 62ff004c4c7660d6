"""Where comparisons in 32 bits are allowed: by what was tried, with a margin, and said in the public program."""

from __future__ import annotations

import io

import numpy as np
import pytest

from formats.measured import Kept
from formats.program import ServedNetwork
from helper.errors import UserError
from private_inference.program.comparison import LIMIT, MARGIN, comparison_bits, with_bits, with_given_bits
from private_inference.program.npz_file import load_program, write_program
from private_inference.program.plaintext import largest_compared
from private_inference.program.public import digest
from private_inference.program.steps import INPUT, Program, Step

POOL = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
SCALE = {"scale": np.full((1, 1, 1), 100.0, np.float32), "bias": np.full((1, 1, 1), -1.0, np.float32)}
PROGRAM = Program(
    (1, 4, 4),
    (
        Step("affine", (INPUT,), "scaled", "norm", SCALE),
        Step("relu", ("scaled",), "rectified", "relu"),
        Step("max_pool", ("rectified",), "pooled", "pool", {}, POOL),
    ),
)


def test_the_largest_values_are_those_that_comparisons_read() -> None:
    images = np.zeros((3, 1, 4, 4), np.float32)
    images[1, 0, 2, 2] = 1.0
    assert largest_compared(PROGRAM, images) == {"scaled": 99.0, "rectified": 99.0}


@pytest.mark.parametrize(
    ("relu", "pool", "expected"),
    [
        (1.0, 1.0, {"relu": 32, "pool": 32}),
        (LIMIT / MARGIN, LIMIT / MARGIN, {"relu": 32, "pool": 64}),  # the difference of two may be twice as large
        (LIMIT / MARGIN + 1, LIMIT / MARGIN / 2, {"relu": 64, "pool": 32}),
        (float("nan"), float("inf"), {"relu": 64, "pool": 64}),
        (None, 1.0, {"relu": 64, "pool": 32}),
    ],
)
def test_a_layer_compares_in_32_bits_only_far_below_the_limit(relu, pool, expected: dict[str, int]) -> None:
    largest = {name: value for name, value in (("scaled", relu), ("rectified", pool)) if value is not None}
    assert comparison_bits(with_bits(PROGRAM, 32, largest)) == expected
    assert set(comparison_bits(with_bits(PROGRAM, 64, largest)).values()) == {64}


def test_bits_are_part_of_the_public_program() -> None:
    narrow = with_bits(PROGRAM, 32, {"scaled": 1.0, "rectified": 1.0})
    about = ServedNetwork(model="small", dataset="digits", branch=0, stage=2, relus=Kept(kept=3, total=4))
    assert len({digest(program, about) for program in (PROGRAM, narrow, with_bits(PROGRAM, 64, {}))}) == 3
    file = io.BytesIO()
    write_program(file, narrow, {})
    file.seek(0)
    assert comparison_bits(load_program(file)[0]) == {"relu": 32, "pool": 32}
    assert comparison_bits(with_given_bits(PROGRAM, {"relu": 32})) == {"relu": 32, "pool": 64}


def test_a_program_with_other_bits_is_refused() -> None:
    file = io.BytesIO()
    write_program(file, with_given_bits(PROGRAM, {"relu": 8}), {})
    file.seek(0)
    with pytest.raises(UserError, match="relu compares in 8 bits"):
        load_program(file)
