"""In how many bits each secure comparison is made: 32 cost about half of 64, and are wrong outside +-8,192.

A number that leaves that range is compared with a wrong sign, and nothing tells so. So a layer compares in 32 bits
only where its values, on images that were tried in the clear, stay below the limit by a wide margin; else in 64. Tried
images are no proof for others: the margin is for those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from private_inference.program.steps import COMPARING, Program, Settings

LIMIT = 2.0**13  # 2^31 in fixed point of 18 binary digits after the point
MARGIN = 16  # how many times larger than all that was tried a value may be


def largest_allowed(kind: str) -> float:
    """Of what was tried; max pooling compares differences, which are at most twice as large."""
    return LIMIT / MARGIN / (2 if kind == "max_pool" else 1)


def with_bits(program: Program, bits: int, largest: Mapping[str, float]) -> Program:
    """The same program, comparing in `bits` where it may. `largest`: the largest |value| tried, by what is compared.

    A value that was never tried, or is not finite, may be of any size.
    """
    changes = {}
    for step in program.steps:
        if step.kind in COMPARING:
            fits = largest.get(step.inputs[0], float("inf")) <= largest_allowed(step.kind)
            settings: Settings = {**step.settings, "bits": 32 if bits == 32 and fits else 64}
            changes[step.output] = [replace(step, settings=settings)]
    return program.replaced(changes)


def with_given_bits(program: Program, bits: Mapping[str, int]) -> Program:
    """The same program, its layers comparing as `comparison_bits` has said."""
    changes = {
        step.output: [replace(step, settings={**step.settings, "bits": bits.get(step.layer, 64)})]
        for step in program.steps
        if step.kind in COMPARING
    }
    return program.replaced(changes)


def in_bits(program: Program, bits: int) -> Program:
    """The same program, all of it comparing in `bits`: for estimates, which compare nothing."""
    return with_given_bits(program, dict.fromkeys(comparison_bits(program), bits))


def comparison_bits(program: Program) -> dict[str, int]:
    """Layer: the bits that it compares in."""
    return {step.layer: step.settings.get("bits", 64) for step in program.steps if step.kind in COMPARING}
