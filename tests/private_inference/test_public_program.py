"""What the client is told of the server's program: everything that it must know to take part, and no weight."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.relay import stretches_found

from formats.measured import Kept
from formats.program import ServedNetwork
from helper.errors import UserError
from models.layers import relu_sites
from private_inference.program.fuse import fuse
from private_inference.program.public import (
    digest,
    is_public,
    public_bytes,
    read_served,
    secret_name,
    secrets,
    without_secrets,
)
from private_inference.program.steps import INPUT, Program, Step, shapes
from private_inference.program.trace import build_program

ABOUT = ServedNetwork(model="small", dataset="digits", branch=0, stage=2, relus=Kept(kept=3, total=4))
ONE = {"stride": (1, 1), "padding": (1, 1), "groups": 1}


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.float32)


def small() -> Program:
    """Every kind of array that there is: a mean colour, weights, a map of shifts, a mask."""
    mask = np.random.default_rng(5).random((4, 8, 8)) < 0.3
    steps = [
        Step("shift", (INPUT,), "mean", "normalize", {"bias": floats(3, 1, 1)}),
        Step("conv", ("mean",), "a", "conv1", {"weight": floats(4, 3, 3, 3), "bias": floats(4)}, ONE),
        Step("shift", ("a",), "b", "border", {"bias": floats(4, 8, 8)}),
        Step("relu", ("b",), "c", "relu", {"mask": mask}),
        Step("affine", ("c",), "d", "norm", {"scale": floats(4, 1, 1), "bias": floats(4, 1, 1, seed=1)}),
        Step("add", ("a", "d"), "e", "add"),
        Step("average_pool", ("e",), "f", "pool", {}, {"kernel": (2, 2), "stride": (2, 2)}),
        Step("flatten", ("f",), "g", "flatten"),
        Step("linear", ("g",), "h", "fc", {"weight": floats(5, 64), "bias": floats(5)}),
    ]
    return Program((3, 8, 8), tuple(steps))


def changed(program: Program, layer: str, /, **more: object) -> Program:
    steps = [replace(step, **more) if step.layer == layer else step for step in program.steps]
    return replace(program, steps=tuple(steps))


def with_array(program: Program, layer: str, name: str, array: np.ndarray) -> Program:
    (step,) = [step for step in program.steps if step.layer == layer]
    return changed(program, layer, arrays={**step.arrays, name: array})


def masked_network(network) -> Program:
    """A real one, all of its norms folded and its tail fused, with random masks."""
    model = network(branches=2).eval()
    generator = torch.Generator().manual_seed(1)
    for site in relu_sites(model).values():
        site.set_mask(torch.rand(site.map_shape, generator=generator) < 0.2)
    return fuse(build_program(model, 1))


def same_steps(one: Program, other: Program) -> bool:
    def plain(step: Step) -> tuple:
        return step.kind, step.inputs, step.output, step.layer, dict(step.settings), set(step.arrays)

    return one.input_shape == other.input_shape and list(map(plain, one.steps)) == list(map(plain, other.steps))


# --- What the client is told ----------------------------------------------------------------------------------------


def test_the_client_reads_the_same_steps_with_zeros_for_secrets(network) -> None:
    for program in (small(), masked_network(network)):
        found, about = read_served(io.BytesIO(public_bytes(program, ABOUT)))
        assert about == ABOUT
        assert same_steps(found, program)
        assert shapes(found) == shapes(program)
        assert found.decisions == ()  # of which layers were folded, and the figures that decided it, nobody is told
        for mine, theirs in zip(program.steps, found.steps, strict=True):
            for name, array in mine.arrays.items():
                expected = array if is_public(mine, name) else np.zeros_like(array)
                assert theirs.arrays[name].dtype == array.dtype
                np.testing.assert_array_equal(theirs.arrays[name], expected)


def test_no_weight_is_in_the_bytes(network) -> None:
    for program in (small(), masked_network(network)):
        content = public_bytes(program, ABOUT)
        with zipfile.ZipFile(io.BytesIO(content)) as members:
            plain = b"".join(members.read(name) for name in members.namelist())
        kept = {name: array for name, array in secrets(program).items() if array.any()}
        for array in kept.values():
            assert stretches_found([content, plain], array) == 0
        # Nor one value alone, where it would lie in an array.
        told = np.concatenate(
            [np.frombuffer(plain[shift : len(plain) // 4 * 4 - 4 + shift], "<f4") for shift in range(4)]
        )
        values = np.concatenate([array.ravel() for array in kept.values()])
        assert not np.isin(values[np.abs(values) > 1e-3], told).any()
        # The same searches find what is there to be found.
        assert next(step.arrays["mask"] for step in program.steps if "mask" in step.arrays).tobytes() in plain
        array = kept[secret_name(program.steps[1], "weight")]
        assert stretches_found([b"abc" + array.tobytes()], array) > 50


def test_secrets_and_what_is_public_together_are_the_program(network) -> None:
    for program in (small(), masked_network(network)):
        left = secrets(program)
        public = without_secrets(program)
        steps = []
        for step in public.steps:
            own = {name: left.pop(secret_name(step, name), array) for name, array in step.arrays.items()}
            steps.append(replace(step, arrays=own))
        assert left == {}
        rebuilt = Program(public.input_shape, tuple(steps))
        assert same_steps(rebuilt, program)
        for mine, theirs in zip(program.steps, rebuilt.steps, strict=True):
            for name, array in mine.arrays.items():
                np.testing.assert_array_equal(theirs.arrays[name], array)


def test_only_masks_and_the_mean_colour_are_public(network) -> None:
    program = small()
    named = {f"{step.layer}.{name}" for step in program.steps for name in step.arrays if is_public(step, name)}
    assert named == {"normalize.bias", "relu.mask"}
    # What is added to the images may be trained, too, where it is more than a colour, or where it is added later.
    wide = Step("shift", (INPUT,), "a", "learned", {"bias": floats(3, 8, 8)})
    late = Step("shift", ("a",), "b", "late", {"bias": floats(3, 1, 1)})
    scaled = Step("affine", (INPUT,), "a", "norm", {"scale": floats(3, 1, 1), "bias": floats(3, 1, 1)})
    assert not any(is_public(step, name) for step in (wide, late, scaled) for name in step.arrays)
    assert set(secrets(Program((3, 8, 8), (wide, late)))) == {"a.bias", "b.bias"}
    real = masked_network(network)
    assert {name for step in real.steps for name in step.arrays if is_public(step, name)} == {"mask", "bias"}
    assert sum(is_public(step, "bias") for step in real.steps if "bias" in step.arrays) == 1


# --- The digest -----------------------------------------------------------------------------------------------------


def test_both_sides_have_one_digest(network) -> None:
    for program in (small(), masked_network(network)):
        assert digest(*read_served(io.BytesIO(public_bytes(program, ABOUT)))) == digest(program, ABOUT)
        assert digest(without_secrets(program), ABOUT) == digest(program, ABOUT)


def swapped(program: Program) -> Program:
    """The order of the affine layer and of the masked ReLU before it, names and shapes kept."""
    steps = list(program.steps)
    relu, norm = steps[3], steps[4]
    steps[3], steps[4] = replace(norm, inputs=relu.inputs, output="c"), replace(relu, inputs=("c",), output="d")
    return replace(program, steps=tuple(steps))


def flipped(program: Program) -> Program:
    mask = program.steps[3].arrays["mask"].copy()
    mask[2, 3, 4] ^= True
    return with_array(program, "relu", "mask", mask)


@pytest.mark.parametrize(
    "change",
    [
        flipped,
        swapped,
        lambda program: with_array(with_array(program, "fc", "weight", floats(6, 64)), "fc", "bias", floats(6)),
        lambda program: with_array(program, "normalize", "bias", floats(3, 1, 1, seed=1)),
        lambda program: changed(program, "relu", arrays={}),
        lambda program: changed(program, "pool", settings={"kernel": (1, 1), "stride": (2, 2)}),
        lambda program: changed(
            program, "pool", kind="max_pool", settings={**program.steps[6].settings, "padding": (0, 0)}
        ),
        lambda program: changed(program, "add", inputs=("d", "d")),
        lambda program: changed(program, "conv1", layer="other"),
    ],
)
def test_whatever_is_public_changes_the_digest(change) -> None:
    assert digest(change(small()), ABOUT) != digest(small(), ABOUT)


def test_stride_and_input_shape_change_the_digest() -> None:
    def conv(side: int, stride: int) -> Program:
        settings = {**ONE, "stride": (stride, stride)}
        return Program((3, side, side), (Step("conv", (INPUT,), "a", "a", small().steps[1].arrays, settings),))

    assert len({digest(conv(*sizes), ABOUT) for sizes in ((8, 1), (8, 2), (9, 1), (9, 2))}) == 4


def test_weights_do_not_change_the_digest_but_what_is_said_about_them_does() -> None:
    program = small()
    other = with_array(with_array(program, "fc", "weight", floats(5, 64, seed=9)), "conv1", "bias", floats(4, seed=9))
    assert digest(other, ABOUT) == digest(program, ABOUT)
    assert digest(program, ABOUT.model_copy(update={"dataset": "cifar10"})) != digest(program, ABOUT)


# --- Bytes that are no program --------------------------------------------------------------------------------------


def described(**changes: object) -> bytes:
    """The bytes of a small program whose description says something else."""
    with np.load(io.BytesIO(public_bytes(small(), ABOUT))) as content:
        arrays = dict(content)
    description = json.loads(str(arrays["program"])) | changes
    file = io.BytesIO()
    np.savez(file, **{**arrays, "program": np.array(json.dumps(description))})
    return file.getvalue()


def pickled() -> bytes:
    file = io.BytesIO()
    np.savez(file, program=np.array([{"a": 1}], dtype=object))
    return file.getvalue()


def saved(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


POOL = {"kind": "average_pool", "inputs": [INPUT], "output": "h", "layer": "l", "arrays": {}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zip at all",
        pickled(),
        saved(weight=floats(3)),
        saved(program=np.array("no JSON")),
        saved(program=np.array("[" * 100_000)),
        described(format="other"),
        described(version=2),
        described(steps=[]),
        described(steps=[{"kind": "exec"}]),
        described(steps=[{**POOL, "settings": {"kernel": [2, 2], "stride": [0, 0]}}]),
        described(input={"name": INPUT, "shape": [4, 8, 8]}),
    ],
)
def test_what_is_no_program_is_refused(content: bytes) -> None:
    with pytest.raises(UserError):
        read_served(io.BytesIO(content))


def test_damage_never_goes_unnoticed() -> None:
    """One byte changed, or the end missing: one line, or, in parts of the file that nobody reads, the same program."""
    program = Program((3, 8, 8), small().steps[:4])
    content, mine = public_bytes(program, ABOUT), digest(program, ABOUT)
    refused = 0
    for place in range(0, len(content), 3):
        damaged = bytearray(content)
        damaged[place] ^= 255
        for each in (bytes(damaged), content[:place]):
            try:
                assert digest(*read_served(io.BytesIO(each))) == mine
            except UserError:
                refused += 1
    assert refused > len(content) / 3
