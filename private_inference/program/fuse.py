"""Linear layers with nothing between them made one, where that is exact and takes fewer multiply-accumulates.

    conv -> conv          W[o, i, v*s1 + u] = sum_m W2[o, m, v] W1[m, i, u]: a kernel of (k2 - 1) s1 + k1, stride s1 s2
    conv(x) + conv(x)     of one stride: the sum of both kernels, aligned at the centre
    conv 1x1 -> pooling   the pooling first: its average commutes with a 1x1 convolution that skips no position
    -> flatten -> linear  a 1x1 convolution of a 1x1 map is a linear layer, and two of those are one

Zero padding is what stands in the way. A padded second convolution reads zeros around the map between, where the
composition would read values that the first convolution computes from the image's last rows: the outermost rows and
columns of the result would be others. The composition is exact only where the second has no padding, or where the first
is 1x1 without padding, which makes zeros of zeros but for its bias; what the bias adds is then a fixed map, less at the
border, and is put back as a shift.

Little is found in practice: ResNets and VGGs pad every 3x3 convolution, and two 1x1 convolutions around a bottleneck
are cheaper apart. `decisions` tells what was looked at, and why not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional as F

from private_inference.program.steps import Decision, Pair, Program, Settings, Step, shapes, step_macs

POINT = (1, 1)
NO_PADDING = (0, 0)


@dataclass(frozen=True)
class _Candidate:
    """Layers that could be one. `obstacle` says why that would not be exact; `build` gives what to replace."""

    layers: tuple[str, ...]
    before: int
    after: int
    build: Callable[[], dict[str, list[Step]]]
    obstacle: str = ""

    def verdict(self, done: bool) -> Decision:
        reasons = [self.obstacle] if self.obstacle else []
        if self.after >= self.before:
            reasons.append("one layer would take no fewer multiply-accumulates")
        why = "; ".join(reasons) or "exact, and fewer multiply-accumulates"
        return Decision("fuse", self.layers, done, why, self.before, self.after)


def fuse(program: Program) -> Program:
    """The same function with the layers that pay made one; `decisions` gains every pair that was looked at."""
    while True:
        known, refused = shapes(program), []
        for step in program.steps:
            candidate = PATTERNS[step.kind](program, step, known) if step.kind in PATTERNS else None
            if candidate is None:
                continue
            if candidate.obstacle or candidate.after >= candidate.before:
                refused.append(candidate.verdict(done=False))
                continue
            program = program.replaced(candidate.build()).decided(candidate.verdict(done=True))
            break
        else:
            return program.decided(*refused)


def _convolution_before(program: Program, value: str) -> Step | None:
    source = program.producer(value)
    return source if source is not None and source.kind == "conv" else None


def _shared(program: Program, value: str) -> str:
    return "" if program.only_consumer(value) else "the map between is used elsewhere too"


def _after_convolution(program: Program, second: Step, known: dict) -> _Candidate | None:
    first = _convolution_before(program, second.inputs[0])
    if first is None:
        return None
    kernel, kernel2 = first.arrays["weight"].shape[2:], second.arrays["weight"].shape[2:]
    point_first = kernel == POINT and first.settings["padding"] == NO_PADDING
    obstacle = _shared(program, first.output)
    if not obstacle and second.settings["padding"] != NO_PADDING and not point_first:
        obstacle = "the second convolution pads the map between with zeros, so the composition differs at the border"
    sides = [(k2 - 1) * s + k for k, k2, s in zip(kernel, kernel2, first.settings["stride"], strict=True)]
    inputs = known[first.inputs[0]][0]
    return _Candidate(
        (first.layer, second.layer),
        step_macs(first, known[first.output]) + step_macs(second, known[second.output]),
        math.prod(known[second.output]) * inputs * math.prod(sides),
        lambda: {first.output: [], second.output: _composed(first, second, sides, known)},
        obstacle,
    )


def _composed(first: Step, second: Step, sides: list[int], known: dict) -> list[Step]:
    weight1, weight2 = dense(first), dense(second)
    (stride_y, stride_x), kernel = first.settings["stride"], weight1.shape[2:]
    weight = np.zeros((weight2.shape[0], weight1.shape[1], *sides))
    for v, u in np.ndindex(weight2.shape[2:]):
        top, left = v * stride_y, u * stride_x
        weight[:, :, top : top + kernel[0], left : left + kernel[1]] += np.tensordot(weight2[:, :, v, u], weight1, 1)
    bias1, bias2 = (step.arrays["bias"].astype(np.float64) for step in (first, second))
    settings: Settings = {
        "stride": _each(lambda s1, s2: s1 * s2, first.settings["stride"], second.settings["stride"]),
        "padding": _each(
            lambda p1, p2, s1: p1 + p2 * s1,
            first.settings["padding"],
            second.settings["padding"],
            first.settings["stride"],
        ),
        "groups": 1,
    }
    layer = f"{first.layer} + {second.layer}"
    if second.settings["padding"] == NO_PADDING or not bias1.any():
        bias = bias2 + weight2.sum((2, 3)) @ bias1
        arrays = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
        return [Step("conv", first.inputs, second.output, layer, arrays, settings)]
    constant = np.broadcast_to(bias1[:, None, None], known[first.output])
    added = F.conv2d(
        torch.from_numpy(constant.copy())[None],
        torch.from_numpy(weight2),
        stride=second.settings["stride"],
        padding=second.settings["padding"],
    )[0].numpy()
    arrays = {"weight": weight.astype(np.float32), "bias": second.arrays["bias"]}
    between = f"{second.output}_unshifted"
    return [
        Step("conv", first.inputs, between, layer, arrays, settings),
        Step("shift", (between,), second.output, layer, {"bias": added.astype(np.float32)}),
    ]


def dense(step: Step) -> np.ndarray:
    """The weight of a convolution or linear step without groups, float64: zeros between channels of two groups."""
    weight = step.arrays["weight"].astype(np.float64)
    groups = step.settings.get("groups", 1)
    outputs, inputs, *kernel = weight.shape
    full = np.zeros((groups, outputs // groups, groups, inputs, *kernel))
    for group in range(groups):
        full[group, :, group] = weight.reshape(groups, outputs // groups, inputs, *kernel)[group]
    return full.reshape(outputs, groups * inputs, *kernel)


def _each(rule: Callable[..., int], *pairs: Sequence[int]) -> Pair:
    height, width = (rule(*values) for values in zip(*pairs, strict=True))
    return height, width


def _sum_of_convolutions(program: Program, step: Step, known: dict) -> _Candidate | None:
    one, other = (_convolution_before(program, value) for value in step.inputs)
    if one is None or other is None or one is other:
        return None
    branches = (one, other)
    if one.inputs != other.inputs or one.settings["stride"] != other.settings["stride"]:
        return None
    # Aligned by their padding, each kernel reaches from -padding to kernel - padding.
    padding = _each(max, one.settings["padding"], other.settings["padding"])
    ends = [_each(int.__sub__, branch.arrays["weight"].shape[2:], branch.settings["padding"]) for branch in branches]
    sides = _each(int.__add__, padding, _each(max, *ends))
    groups = one.settings["groups"] if one.settings["groups"] == other.settings["groups"] else 1
    return _Candidate(
        (one.layer, other.layer),
        sum(step_macs(branch, known[step.output]) for branch in branches),
        math.prod(known[step.output]) * known[one.inputs[0]][0] // groups * math.prod(sides),
        lambda: {one.output: [], other.output: [], step.output: [_summed(one, other, step, padding, sides, groups)]},
        _shared(program, one.output) or _shared(program, other.output),
    )


def _summed(one: Step, other: Step, step: Step, padding: Pair, sides: Pair, groups: int) -> Step:
    weight = bias = np.zeros(())
    for branch in (one, other):
        part = branch.arrays["weight"].astype(np.float64) if groups == branch.settings["groups"] else dense(branch)
        before = _each(int.__sub__, padding, branch.settings["padding"])
        after = _each(lambda side, size, first: side - size - first, sides, part.shape[2:], before)
        weight = weight + np.pad(part, ((0, 0), (0, 0), *zip(before, after, strict=True)))
        bias = bias + branch.arrays["bias"].astype(np.float64)
    arrays = {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
    settings: Settings = {"stride": one.settings["stride"], "padding": padding, "groups": groups}
    return Step("conv", one.inputs, step.output, f"{one.layer} + {other.layer}", arrays, settings)


def _is_point(step: Step) -> bool:
    settings = step.settings
    return step.arrays["weight"].shape[2:] == settings["stride"] == POINT and settings["padding"] == NO_PADDING


def _pooled_convolution(program: Program, pool: Step, known: dict) -> _Candidate | None:
    conv = _convolution_before(program, pool.inputs[0])
    if conv is None or not _is_point(conv):
        return None
    pooled = f"{pool.output}_pooled"
    return _Candidate(
        (conv.layer, pool.layer),
        step_macs(conv, known[conv.output]),
        step_macs(conv, known[pool.output]),
        lambda: {
            conv.output: [],
            pool.output: [
                replace(pool, inputs=conv.inputs, output=pooled),
                replace(conv, inputs=(pooled,), output=pool.output),
            ],
        },
        _shared(program, conv.output),
    )


def _before_linear(program: Program, second: Step, known: dict) -> _Candidate | None:
    flat = program.producer(second.inputs[0])
    if flat is None:
        return None
    first = flat
    if flat.kind == "flatten":
        conv = _convolution_before(program, flat.inputs[0])
        if conv is None or known[conv.inputs[0]][1:] != POINT or not _is_point(conv):
            return None
        first = conv
    elif flat.kind != "linear":
        return None
    inputs = math.prod(known[first.inputs[0]])

    def build() -> dict[str, list[Step]]:
        weight2, weight1 = dense(second), dense(first).reshape(-1, inputs)
        bias = second.arrays["bias"] + weight2 @ first.arrays["bias"].astype(np.float64)
        arrays = {"weight": (weight2 @ weight1).astype(np.float32), "bias": bias.astype(np.float32)}
        merged = Step("linear", (flat.output,), second.output, f"{first.layer} + {second.layer}", arrays)
        if first is flat:
            return {first.output: [], second.output: [replace(merged, inputs=first.inputs)]}
        return {first.output: [], flat.output: [replace(flat, inputs=first.inputs)], second.output: [merged]}

    return _Candidate(
        (first.layer, second.layer),
        step_macs(first, known[first.output]) + step_macs(second, known[second.output]),
        math.prod(known[second.output]) * inputs,
        build,
        _shared(program, first.output) or _shared(program, flat.output),
    )


def fused_in_words(program: Program) -> list[str]:
    """One line for every pair of layers that was made one, with what that saves."""
    return [
        f"{', '.join(decision.layers)}: {decision.macs_before:,} -> {decision.macs_after:,}"
        for decision in program.decisions
        if decision.what == "fuse" and decision.done
    ]


PATTERNS: dict[str, Callable[[Program, Step, dict], _Candidate | None]] = {
    "conv": _after_convolution,
    "add": _sum_of_convolutions,
    "average_pool": _pooled_convolution,
    "linear": _before_linear,
}
