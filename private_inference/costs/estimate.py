"""What private inference would cost, without running it: T = T_linear + N c + L r RTT/2 + bytes / bandwidth.

N are the ReLUs kept, L the layers that keep at least one, r the rounds of such a layer, c the seconds of a comparison.
All constants are measured with one protocol on one machine, and lie in constants.yaml beside this file; the benchmark
that writes it is benchmarks/fit_private_inference.py. A step's bytes, rounds and seconds are sums of a constant times
what they grow with: `sizes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import yaml

from helper.errors import UserError
from helper.text import table
from private_inference.costs.link import Network, transfer_seconds
from private_inference.engine.cost import PARTS, Cost, Costs, StepCost
from private_inference.program.steps import Program, Step, comparisons, shapes, step_macs

CONSTANTS = Path(__file__).with_name("constants.yaml")
# Published latencies of linearized networks follow this many seconds a ReLU, whatever the network between the parties.
# What it was measured with is not said, so it is no constant of ours.
PUBLISHED_SECONDS_PER_RELU = 20.99e-6

FREE = ("shift", "flatten")  # groups that each party computes alone, in no time that shows

Constants = Mapping[str, Mapping[str, Mapping[str, float]]]  # group of steps -> of Cost -> size -> constant


def load_constants(path: Path = CONSTANTS) -> dict:
    """{'machine': {...}, 'protocols': {protocol: constants}}; raises UserError for a file missing or damaged."""
    try:
        content = yaml.safe_load(path.read_text())
        return {"machine": content["machine"], "protocols": content["protocols"]}
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: no constants of private inference ({type(error).__name__}); "
            "benchmarks/fit_private_inference.py writes them"
        ) from error


def group_of(step: Step) -> str:
    """Steps that share constants."""
    if step.kind == "conv" and is_depthwise(step):
        return "depthwise"
    return "linear" if step.kind in ("conv", "linear") else step.kind


def is_depthwise(step: Step) -> bool:
    return 1 < step.settings["groups"] == len(step.arrays["weight"])


def sizes(step: Step, shape: tuple[int, ...], compared: int) -> dict[str, float]:
    """What the cost of `step` grows with, per image; `shape` is that of its output.

    A convolution is a matrix product of `windows` (positions x inputs of one) and `weights`, with `outputs`.
    """
    found = {"step": 1}
    if step.kind in ("conv", "linear"):
        weight = step.arrays["weight"]
        positions = math.prod(shape[1:])
        found |= {"windows": positions * math.prod(weight.shape[1:]) * step.settings.get("groups", 1)}
        found |= {"weights": weight.size, "outputs": math.prod(shape), "macs": step_macs(step, shape)}
    elif step.kind in ("relu", "max_pool"):
        depth = 1 if step.kind == "relu" else math.ceil(math.log2(math.prod(step.settings["kernel"])))
        found |= {"comparisons": compared, "depth": depth, "outputs": math.prod(shape)}
    else:
        found |= {"outputs": math.prod(shape)}
    return found


def sized_steps(program: Program) -> list[tuple[Step, dict[str, float]]]:
    known = shapes(program)
    compared = {layer: count for layer, _, count in comparisons(program)}
    return [(step, sizes(step, known[step.output], compared.get(step.layer, 0))) for step in program.steps]


def rough_costs(program: Program, constants: Constants) -> Costs:
    """The cost of every step, and of opening the logits, as the constants have it; seconds are without a network.

    Raises UserError for a kind of step that was never measured: it would seem to cost nothing.
    """
    found = []
    for step, grows in sized_steps(program):
        name = group_of(step)
        if name not in constants and name not in FREE:
            raise UserError(
                f"no constants for '{name}' steps such as {step.layer}: measure a network that has some without "
                "--estimate-only, and let benchmarks/fit_private_inference.py write constants"
            )
        group = constants.get(name, {})
        cost = Cost(**{what: _sum(group.get(what, {}), grows) for what in ("upload", "download", "rounds", "seconds")})
        found.append(StepCost(step.layer, step.kind, int(grows.get("comparisons", 0)), cost))
    opening = {what: _sum(per, {"step": 1}) for what, per in constants.get("output", {}).items()}
    return Costs((*found, StepCost("logits", "output", 0, Cost(**opening))))


def _sum(constants: Mapping[str, float], grows: Mapping[str, float]) -> float:
    return sum(constant * grows[name] for name, constant in constants.items())


def rough_seconds(costs: Costs, link: Network, kept: int) -> dict:
    """What one image costs over `link`, where its seconds go, and what published latencies say of `kept` ReLUs."""
    whole = costs.total("cold")
    seconds = {part: costs.part(part, "cold").seconds for part in PARTS}
    seconds["rounds"] = whole.rounds * link.rtt / 2
    seconds["bytes"] = sum(transfer_seconds(step.cold, link) for step in costs.steps) - seconds["rounds"]
    return {
        "network": asdict(link),
        "bytes": whole.bytes,
        "rounds": whole.rounds,
        "seconds": seconds | {"total": sum(seconds.values())},
        "derived_from_published": kept * PUBLISHED_SECONDS_PER_RELU,
    }


def estimate_table(rows: Sequence[dict]) -> str:
    """A line for every checkpoint and network: a record of private_inference/costs/measurement.py, and the above."""
    parts = [f"{name} s" for name in (*PARTS, "rounds", "bytes", "total")]
    lines = [["checkpoint", "link", "MB", "rounds", *parts, "published s"]]
    for row in rows:
        seconds = [f"{value:.2f}" for value in (*row["seconds"].values(), row["derived_from_published"])]
        size = [f"{row['bytes'] / 1e6:.2f}", f"{row['rounds']:,.0f}"]
        lines.append([row["label"], row["network"]["name"], *size, *seconds])
    return table(lines)


def estimate_sentences(machine: Mapping, protocol: str, networks: Sequence[Network]) -> list[str]:
    """What a reader must know of the table."""
    return [
        f"ESTIMATED, nothing was run: {protocol}, one image after the first, by constants measured on "
        f"{machine['processor']}, {machine['cores']} cores, with both parties on that machine.",
        "linear, relu, rest: computing; rounds: waiting for messages; bytes: sending them. "
        + "; ".join(link.in_words() for link in networks)
        + ".",
        f"published s: DERIVED, {PUBLISHED_SECONDS_PER_RELU * 1e6:.2f} microseconds a ReLU and nothing for all else, "
        "which published latencies of linearized networks follow.",
    ]
