"""What private inference would cost, without running it: T = T_linear + N c + L r RTT/2 + bytes / bandwidth.

N are the ReLUs kept, L the layers that keep at least one, r the rounds of such a layer, c the seconds of a comparison.
All constants are measured with one protocol on one machine, and lie in constants.yaml beside this file; the benchmark
that writes it is benchmarks/fit_private_inference.py. A step's bytes, rounds and seconds are sums of a constant times
what they grow with: `sized_steps`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from formats.constants import Constants, KnownConstants, Machine
from formats.private_costs import EstimatedCosts
from helper.errors import UserError
from helper.files import read_record
from helper.text import table
from private_inference.costs.link import Network, transfer_seconds
from private_inference.engine.cost import PARTS, Cost, Costs, StepCost
from private_inference.engine.products import geometry, layout_of, load
from private_inference.engine.protocols import EngineSettings
from private_inference.program.steps import COMPARING, Program, Step, comparisons, shapes

CONSTANTS = Path(__file__).with_name("constants.yaml")
# Published latencies of linearized networks follow this many seconds a ReLU, whatever the network between the parties.
# What it was measured with is not said, so it is no constant of ours.
PUBLISHED_SECONDS_PER_RELU = 20.99e-6

FREE = ("shift", "flatten")  # groups that each party computes alone, in no time that shows


def load_constants(path: Path = CONSTANTS) -> KnownConstants:
    """Raises UserError for a file that is missing or damaged."""
    if not path.exists():
        raise UserError(f"{path}: no {KnownConstants.kind}; {KnownConstants.remedy}")
    return read_record(path, KnownConstants)


def sized_steps(program: Program, settings: EngineSettings) -> list[tuple[Step, str, dict[str, float]]]:
    """(step, group of steps that share constants, what its cost grows with, an image) of every step."""
    known = shapes(program)
    compared = {layer: count for layer, _, count in comparisons(program)}
    return [(step, *_sized(step, known, compared.get(step.layer, 0), settings)) for step in program.steps]


def _sized(step: Step, known: Mapping, compared: int, settings: EngineSettings) -> tuple[str, dict[str, float]]:
    shape, batch = known[step.output], settings.batch
    found = {"step": 1 / batch, "outputs": math.prod(shape)}
    if step.kind in ("conv", "linear"):
        layout = layout_of(step, known, settings)
        whole = load(geometry(step, known[step.inputs[0]], shape, batch), layout, settings.protocol)
        group = "elementwise" if layout.kind == "elementwise" else "linear"
        return group, found | {name: value / batch for name, value in whole.items()}
    if step.kind in COMPARING:
        depth = 1 if step.kind == "relu" else math.ceil(math.log2(math.prod(step.settings["kernel"])))
        return f"{step.kind}{step.settings.get('bits', 64)}", found | {"comparisons": compared, "depth": depth / batch}
    return step.kind, found


def rough_costs(program: Program, constants: Constants, settings: EngineSettings) -> Costs:
    """The cost of every step, and of opening the logits, as the constants have it; seconds are without a network.

    Cold is the first batch, with what is set up once. Raises UserError for a kind of step that was never measured: it
    would seem to cost nothing.
    """
    found = []
    for step, name, grows in sized_steps(program, settings):
        if name not in constants and name not in FREE:
            raise UserError(
                f"no constants for '{name}' steps such as {step.layer}: measure a network that has some without "
                "--estimate-only, and let benchmarks/fit_private_inference.py write constants"
            )
        cost = cost_of(constants.get(name, {}), grows)
        found.append(StepCost(step.layer, step.kind, int(grows.get("comparisons", 0)), cost, cost))
    opening = cost_of(constants.get("output", {}), {"step": 1 / settings.batch, "image": 1})
    found.append(StepCost("logits", "output", 0, opening, opening))
    every = {"comparisons": sum(step.comparisons for step in found)}
    if ahead := constants.get("correlations"):
        cost = cost_of(ahead, every)
        found.append(StepCost("correlations made ahead", "correlations", 0, cost, cost))
    if settings.set_up and (once := constants.get("set_up", {}).get(settings.set_up)):
        found.append(StepCost("set-up, once", "set_up", 0, Cost(**once), Cost()))
    return Costs(tuple(found))


def cost_of(constants: Mapping[str, Mapping[str, float]], grows: Mapping[str, float]) -> Cost:
    """Of a step, from the constants of its group and what they are to be multiplied by."""
    return Cost(**{what: _sum(constants.get(what, {}), grows) for what in ("upload", "download", "rounds", "seconds")})


def _sum(constants: Mapping[str, float], grows: Mapping[str, float]) -> float:
    if odd := constants.keys() - grows.keys():
        raise UserError(f"constants.yaml: such steps do not grow with '{min(odd)}', but with {', '.join(grows)}")
    return sum(constant * grows[name] for name, constant in constants.items())


def rough_seconds(costs: Costs, link: Network, kept: int) -> dict:
    """What one image costs over `link`, where its seconds go, and what published latencies say of `kept` ReLUs."""
    whole = costs.total("warm")
    seconds = {part: costs.part(part, "warm").seconds for part in PARTS}
    seconds["rounds"] = whole.rounds * link.rtt / 2
    seconds["bytes"] = sum(transfer_seconds(step.at("warm"), link) for step in costs.steps) - seconds["rounds"]
    once = costs.set_up
    return {
        "network": asdict(link),
        "bytes": whole.bytes,
        "rounds": whole.rounds,
        "seconds": seconds | {"total": sum(seconds.values())},
        "set_up": once and {"bytes": once.bytes, "seconds": once.seconds + transfer_seconds(once, link)},
        "derived_from_published": kept * PUBLISHED_SECONDS_PER_RELU,
    }


def relu_layer_costs(costs: Costs, link: Network) -> dict[str, dict[str, float]]:
    """{layer: {'bytes', 'rounds', 'seconds'}} of an image, of every layer that compares; seconds are those over `link`.

    Without the correlations that are made ahead for all layers together.
    """
    return {
        step.layer: {
            "bytes": step.at("warm").bytes,
            "rounds": step.at("warm").rounds,
            "seconds": step.at("warm").seconds + transfer_seconds(step.at("warm"), link),
        }
        for step in costs.steps
        if step.part == "relu"
    }


def estimate_table(rows: Sequence[EstimatedCosts]) -> str:
    """A line for every checkpoint and network."""
    parts = [f"{name} s" for name in (*PARTS, "rounds", "bytes", "total")]
    lines = [["checkpoint", "link", "MB", "rounds", *parts, "set-up s", "published s"]]
    for row in rows:
        once = row.set_up.seconds if row.set_up else 0.0
        seconds = [f"{value:.2f}" for value in (*row.seconds.values(), once, row.derived_from_published or 0.0)]
        size = [f"{row.bytes / 1e6:.2f}", f"{row.rounds:,.0f}"]
        lines.append([row.label, row.network.name or "", *size, *seconds])
    return table(lines)


def estimate_sentences(machine: Machine, settings: EngineSettings, networks: Sequence[Network]) -> list[str]:
    """What a reader must know of the table."""
    some = "one image" if settings.batch == 1 else f"an image of a batch of {settings.batch}"
    return [
        f"ESTIMATED, nothing was run: {settings.protocol}, {some} after the first, by constants measured on "
        f"{machine.processor}, {machine.cores} cores, with both parties on that machine.",
        "linear, relu, rest, preparing: computing; rounds: waiting for messages; bytes: sending them; set-up: once, "
        "before the first image. " + "; ".join(link.in_words() for link in networks) + ".",
        f"published s: DERIVED, {PUBLISHED_SECONDS_PER_RELU * 1e6:.2f} microseconds a ReLU and nothing for all else, "
        "which published latencies of linearized networks follow.",
    ]
