"""Which matrix products a linear layer becomes: the engine has no convolution at work, and products differ in price.

    windows      the windows of the map, one a row, times the weights: each input is in as many rows as there are taps
    taps         the map itself, one position a row, times the weights of all taps side by side; each party then shifts
                 and adds the results alone. Few inputs, many outputs
    elementwise  one kernel a channel, a product a tap and position: what is left for depthwise layers

Groups of channels may be merged into one product, with zeros between them, and the inner dimension of a product may be
cut: its parts are added before the one truncation. Plain numpy; both parties choose alike, from public shapes only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from private_inference.engine.protocols import EngineSettings
from private_inference.program.steps import Program, Settings, Step, shapes

# Prices that layouts are compared by, in seconds: a round and a byte of a wide-area link (40 ms, 100 Mbit/s), and what
# was measured with SPU 0.9.5 on one core: to encode a polynomial, and to rotate one while answers are packed.
ROUND, BYTE = 0.02, 8e-8
ENCODING, ROTATION = 1.6e-3, 1.2e-3
# Bytes, measured: a ciphertext that is sent, one that comes back, truncating an output (both protocols), and what a
# value that is opened (semi2k) or multiplied elementwise costs, both directions together.
ENCRYPTED, ANSWER, TRUNCATED = 185_500, 230_700, {"cheetah": 6, "semi2k": 8}
OPENED, MULTIPLIED = 16, {"cheetah": 142, "semi2k": 32}
MULTIPLYING = {"cheetah": 3.8e-6, "semi2k": 2e-7}  # seconds a value

DEGREE = 8192  # numbers in one polynomial of a 64-bit ring
TILE_PRICES = 1000.0, 1.0, 0.1  # of a ciphertext, a rotation and a product, by which the engine chooses its tiles


@dataclass(frozen=True)
class Layout:
    """`merged` groups of channels are one product; `cuts` are the sizes that its inner dimension is cut into."""

    kind: str
    merged: int = 1
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Geometry:
    """One linear step for a whole batch; per group: `channels` in, `outputs` out; positions in and out, all images."""

    groups: int
    channels: int
    outputs: int
    taps: int
    positions_in: int
    positions_out: int


def geometry(step: Step, shape_in: tuple[int, ...], shape_out: tuple[int, ...], batch: int) -> Geometry:
    weight = step.arrays["weight"]
    if step.kind == "linear":
        return Geometry(1, weight.shape[1], len(weight), 1, batch, batch)
    groups, (top, left) = step.settings["groups"], step.settings["padding"]
    padded = (shape_in[1] + 2 * top) * (shape_in[2] + 2 * left)
    taps = math.prod(weight.shape[2:])
    positions = math.prod(shape_out[1:])
    if taps == 1:  # what a stride skips is left out beforehand
        padded = positions
    return Geometry(groups, weight.shape[1], len(weight) // groups, taps, batch * padded, batch * positions)


def is_depthwise(step: Step) -> bool:
    """Whether every channel has kernels of its own and sees no other."""
    return step.kind == "conv" and step.settings["groups"] > 1 and step.arrays["weight"].shape[1] == 1


def products(found: Geometry, layout: Layout) -> list[tuple[int, int, int]]:
    """(rows, inner, columns) of every product of this layout, in the order that they are run."""
    channels, outputs = found.channels * layout.merged, found.outputs * layout.merged
    if layout.kind == "taps":
        each = [(found.positions_in, channels, outputs * found.taps)]
    else:
        each = [(found.positions_out, cut, outputs) for cut in layout.cuts or (channels * found.taps,)]
    return each * (found.groups // layout.merged)


def load(found: Geometry, layout: Layout, protocol: str) -> dict[str, float]:
    """What the cost of a linear step grows with, for a whole batch.

    products        rounds; `outputs` are truncated
    encrypted_up    ciphertexts that the client sends (down: the server), `answer_up` those that come back
    polynomials     encoded, and `rotations` of polynomials (cheetah)
    opened          numbers that are opened masked (semi2k); `multiplied`: elementwise
    """
    outputs = found.groups * found.outputs * found.positions_out
    if layout.kind == "elementwise":
        return {"products": 1, "outputs": outputs, "multiplied": outputs * found.taps}
    grows = dict.fromkeys(("products", "encrypted_up", "encrypted_down", "answer_up", "answer_down"), 0.0)
    grows |= {"outputs": outputs, "polynomials": 0.0, "rotations": 0.0, "opened": 0.0, "macs": 0.0}
    for rows, inner, columns in products(found, layout):
        grows["products"] += 1
        grows["macs"] += rows * inner * columns
        if protocol == "semi2k":
            grows["opened"] += inner * (rows + columns)
            continue
        down, across, along = blocks(rows, inner, columns)
        # Who has fewer polynomials to send encrypts; the map is the client's to send, the weights are the server's.
        mine, theirs = ("up", "down") if down < along else ("down", "up")
        grows[f"encrypted_{mine}"] += min(down, along) * across
        grows[f"answer_{theirs}"] += math.ceil(rows * columns / DEGREE)
        grows["polynomials"] += (down + along) * across
        grows["rotations"] += down * along
    return grows


@lru_cache(maxsize=4096)
def blocks(rows: int, inner: int, columns: int) -> tuple[int, int, int]:
    """Into how many tiles, down, across and along, cheetah cuts a product: the cheapest by its own prices."""
    ciphertext, rotation, product = TILE_PRICES
    found = []
    for power in range(min(inner, DEGREE).bit_length()):
        width = 2**power
        heights = np.arange(1, min(DEGREE // width, rows) + 1)
        lengths = np.minimum(columns, DEGREE // width // heights)
        down, across, along = -(-rows // heights), -(-inner // width), -(-columns // lengths)
        messages = np.minimum(down, along) * across + -(-down * along // width)
        price = messages * ciphertext + math.ceil(rows * columns / DEGREE) * width * rotation
        price = price + down * across * along * product
        last = len(price) - 1 - int(price[::-1].argmin())
        found.append((float(price[last]), -int(heights[last]), -width, int(down[last]), across, int(along[last])))
    return min(found)[3:]


def seconds(grows: Mapping[str, float], protocol: str) -> float:
    """The price of a load over the wide-area link."""
    ciphertexts = [sum(grows.get(f"{name}_{way}", 0) for way in ("up", "down")) for name in ("encrypted", "answer")]
    size = ciphertexts[0] * ENCRYPTED + ciphertexts[1] * ANSWER + grows["outputs"] * TRUNCATED[protocol]
    size += grows.get("opened", 0) * OPENED + grows.get("multiplied", 0) * MULTIPLIED[protocol]
    rounds = grows["products"] * (2 if protocol == "cheetah" else 1)
    computing = grows.get("polynomials", 0) * ENCODING + grows.get("rotations", 0) * ROTATION
    computing += grows.get("multiplied", 0) * MULTIPLYING[protocol]
    # Ciphertexts go one way and come back in turn; numbers that are opened cross each other.
    return size * BYTE / (1 if protocol == "cheetah" else 2) + rounds * ROUND + computing


def candidates(found: Geometry, depthwise: bool, protocol: str, cut: bool) -> Iterator[Layout]:
    if depthwise:
        yield Layout("elementwise")
    for merged in range(1, found.groups + 1):
        if found.groups % merged:
            continue
        yield Layout("windows", merged)
        inner = found.channels * merged * found.taps
        power = 2 ** (inner.bit_length() - 1)
        if found.taps > 1:
            if (
                protocol == "semi2k"
            ):  # in cheetah, whose answers are large, 9 times the bytes for a tenth of the seconds
                yield Layout("taps", merged)
            elif cut and power < inner:
                yield Layout("windows", merged, (power, inner - power))


@lru_cache(maxsize=1024)
def chosen(found: Geometry, depthwise: bool, protocol: str, batch: int) -> Layout:
    """The cheapest layout; of equals, the first. Only a batch may cut: a cut takes two rounds more, which it shares."""
    possible = candidates(found, depthwise, protocol, cut=batch > 1)
    return min(possible, key=lambda layout: seconds(load(found, layout, protocol), protocol))


def layout_of(step: Step, known: Mapping[str, tuple[int, ...]], settings: EngineSettings) -> Layout:
    """How to compute a conv or linear step; `known` are the shapes of all values."""
    if step.kind == "linear" or not settings.layouts:
        return Layout("elementwise" if is_depthwise(step) else "windows")
    found = geometry(step, known[step.inputs[0]], known[step.output], settings.batch)
    return chosen(found, is_depthwise(step), settings.protocol, settings.batch)


def laid_out(program: Program, settings: EngineSettings) -> Program:
    """The same program, its convolutions with the setting 'layout' and with weights merged into what that takes."""
    known, changes = shapes(program), {}
    for step in program.steps:
        if step.kind == "conv":
            layout = layout_of(step, known, settings)
            groups = step.settings["groups"]
            weight = merge_groups(step.arrays["weight"], groups, layout.merged)
            known_by: Settings = {**step.settings, "groups": groups // layout.merged, "layout": layout}
            changes[step.output] = [replace(step, arrays={**step.arrays, "weight": weight}, settings=known_by)]
    return program.replaced(changes)


def merge_groups(weight: np.ndarray, groups: int, merged: int) -> np.ndarray:
    """The weight (O, C / groups, ...) with `merged` groups in the place of one, and zeros across what was apart."""
    if merged == 1:
        return weight
    outputs, channels, *kernel = weight.shape
    each = outputs // groups
    found = np.zeros((outputs, channels * merged, *kernel), weight.dtype)
    for group in range(groups):
        place = group % merged * channels
        rows = slice(group * each, (group + 1) * each)
        found[rows, place : place + channels] = weight[rows]
    return found
