"""Fit the constants of `measure_private_inference.py --estimate-only` to measurements.

    python measure_private_inference.py --path A.pth B.pth --protocol semi2k --images 3
    python -m benchmarks.fit_private_inference save/private_inference/*/private_inference.json --out constants.yaml

Every layer of every measured network is one equation, for the bytes each way, the rounds and the seconds of a step;
the constants are the least-squares ones that are not negative. The checkpoints that the files name must still be there:
they say how large each layer is. Prints how far the fit is off for whole networks. Measure on an idle machine.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from sklearn.linear_model import LinearRegression

from formats.constants import KnownConstants, Machine
from helper import command_line
from helper.errors import UserError
from helper.files import replace_file
from helper.text import table
from private_inference.costs.estimate import CONSTANTS, load_constants, rough_costs, sized_steps
from private_inference.costs.measurement import load_subject
from private_inference.costs.tables import read_costs
from private_inference.engine.cost import Cost, Costs, total
from private_inference.engine.protocols import EngineSettings
from private_inference.program.comparison import with_given_bits
from private_inference.program.steps import Program

# What a group's bytes, rounds and seconds may grow with.
GROWS_WITH: dict[str, Mapping[str, tuple[str, ...]]] = {
    "linear": {
        "upload": ("encrypted_up", "answer_up", "opened", "outputs"),
        "download": ("encrypted_down", "answer_down", "opened", "outputs"),
        "rounds": ("products", "step"),
        "seconds": ("step", "polynomials", "rotations", "opened", "outputs", "macs"),
    },
    "elementwise": dict.fromkeys(("upload", "download", "seconds"), ("step", "multiplied")) | {"rounds": ("step",)},
    **dict.fromkeys(
        ("relu32", "relu64"),
        dict.fromkeys(("upload", "download"), ("comparisons",))
        | {"rounds": ("step",), "seconds": ("step", "comparisons", "outputs")},
    ),
    **dict.fromkeys(
        ("max_pool32", "max_pool64"),
        dict.fromkeys(("upload", "download"), ("comparisons",))
        | {"rounds": ("depth",), "seconds": ("step", "comparisons")},
    ),
    "affine": dict.fromkeys(("upload", "download", "seconds"), ("step", "outputs")) | {"rounds": ("step",)},
    "add": {"seconds": ("outputs",)},
    "output": dict.fromkeys(("upload", "download", "seconds"), ("step", "image")) | {"rounds": ("step",)},
    "average_pool": dict.fromkeys(("upload", "download", "seconds"), ("step", "outputs")) | {"rounds": ("step",)},
    "correlations": dict.fromkeys(("upload", "download"), ("comparisons",)),
}

Equation = tuple[Mapping[str, float], Cost]

NEGLIGIBLE = 1e-6  # share of the largest cost that a term never exceeds: rounding of the fit


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "measured", nargs="+", type=Path, metavar="FILE", help="private_inference.json of loopback runs"
    )
    parser.add_argument("--out", type=Path, default=CONSTANTS, metavar="FILE", help=f"default: {CONSTANTS.name}")
    parser.add_argument(
        "--keep", action="store_true", help="constants that these files say nothing about stay as --out has them"
    )
    return parser.parse_args(argv)


def fit(rows: np.ndarray, values: np.ndarray) -> np.ndarray:
    """x >= 0 that makes rows @ x closest to values; squared errors count per unit of value: small layers matter too."""
    if not values.any():
        return np.zeros(rows.shape[1])
    scale = np.maximum(rows.max(0), 1e-300)
    weight = 1 / np.maximum(values, 0.01 * values.max())
    found = LinearRegression(positive=True, fit_intercept=False).fit(rows / scale, values, sample_weight=weight).coef_
    return np.where(found > NEGLIGIBLE * values.max(), found, 0) / scale


@dataclass(frozen=True)
class Measured:
    """One network as it was measured: its program, how the engine was run, and what it cost."""

    label: str
    program: Program
    settings: EngineSettings
    costs: Costs


def read_measured(paths: list[Path]) -> tuple[Machine, dict[str, list[Measured]]]:
    """(the machine, what was measured by protocol). Raises UserError for what was not measured on one machine."""
    found: dict[str, list[Measured]] = defaultdict(list)
    machines: list[Machine] = []
    for path in paths:
        results = read_costs(path)
        if results.link.kind != "loopback":
            raise UserError(f"{path}: measured over {results.link.kind}; constants come from loopback runs")
        machines.append(results.machine)
        engine = results.engine
        settings = EngineSettings(engine.protocol, batch=engine.batch, set_up=engine.set_up)
        for record in results.measured:
            if record.comparison is None:
                raise UserError(f"{path}: measured before comparisons had a number of bits; measure it again")
            subject = load_subject(Path(record.file or ""), record.branch, fused=record.fused is not None, save_dir="")
            if subject.record.sha256 != record.sha256:
                raise UserError(f"{path}: {record.file} has changed since; measure it again")
            program = with_given_bits(subject.program, record.comparison)
            found[engine.protocol].append(Measured(record.label, program, settings, Costs.from_record(record.costs)))
    if any(machine != machines[0] for machine in machines):
        raise UserError("these files were measured on different machines; constants are those of one")
    return machines[0], found


def equations(measured: list[Measured]) -> dict[str, list[Equation]]:
    """{group of steps: [(what the step's cost grows with, its cost)]}"""
    found: dict[str, list[Equation]] = defaultdict(list)
    for one in measured:
        sized = sized_steps(one.program, one.settings)
        for (_, group, grows), cost in zip(sized, one.costs.steps, strict=False):
            found[group].append((grows, cost.at("warm")))
        every: dict[str, float] = {"comparisons": sum(step.comparisons for step in one.costs.steps)}
        ahead = total(step.at("warm") for step in one.costs.steps if step.kind == "correlations")
        found["output"].append(({"step": 1 / one.settings.batch, "image": 1}, one.costs.steps[len(sized)].at("warm")))
        if one.settings.protocol == "cheetah":
            found["correlations"].append((every, ahead))
    return found


def fitted(measured: list[Measured]) -> dict:
    """The constants of one protocol."""
    constants: dict = {}
    for group, rows in equations(measured).items():
        for what, names in GROWS_WITH.get(group, {}).items():
            matrix = np.array([[grows.get(name, 0) for name in names] for grows, _ in rows], dtype=float)
            values = np.array([getattr(cost, what) for _, cost in rows], dtype=float)
            found = dict(zip(names, fit(matrix, values).tolist(), strict=True))
            constants.setdefault(group, {})[what] = {
                name: float(f"{value:.5g}") for name, value in found.items() if value
            }
    once: dict[str, list[Cost]] = defaultdict(list)
    for one in measured:
        if one.costs.set_up and one.settings.set_up:
            once[one.settings.set_up].append(one.costs.set_up)
    if once:
        constants["set_up"] = {name: asdict(total(costs).over(len(costs))) for name, costs in once.items()}
    return constants


def check(measured: list[Measured], constants: dict) -> str:
    """Estimated over measured, for the bytes, rounds and seconds of whole networks."""
    rows = [["network", "batch", "bytes", "rounds", "seconds", "of measured"]]
    for one in measured:
        estimated = rough_costs(one.program, constants, one.settings).total("warm")
        actual = one.costs.total("warm")
        ratios = [getattr(estimated, what) / getattr(actual, what) for what in ("bytes", "rounds", "seconds")]
        figures = [f"{ratio:.3f}" for ratio in ratios]
        rows.append([one.label, str(one.settings.batch), *figures, f"{actual.seconds:.1f} s"])
    return table(rows)


def main(args: argparse.Namespace) -> None:
    machine, measured = read_measured(args.measured)
    protocols = load_constants(args.out).protocols if args.keep else {}
    for protocol, records in sorted(measured.items()):
        protocols[protocol] = protocols.get(protocol, {}) | fitted(records)
        print(f"{protocol}: estimated over measured\n{check(records, protocols[protocol])}\n")
    content = yaml.safe_dump(
        KnownConstants.model_validate({"machine": machine, "protocols": protocols}).as_json(), sort_keys=False
    )
    head = "# Written by benchmarks/fit_private_inference.py. Per image; bytes, rounds, seconds without a network.\n"
    replace_file(args.out, lambda file: file.write((head + content).encode()))
    print(f"written to {args.out}")


if __name__ == "__main__":
    run_script(main, parse_args)
