"""Costs by constants alone: what they add up to, where constants come from, and `--estimate-only` as users run it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from support.secure_runs import BRANCH, EMPTY

import measure_private_inference
from benchmarks import fit_private_inference
from formats.constants import Machine
from formats.private_costs import SCHEMA
from helper.errors import UserError
from masks.counting import relu_counts
from models import build_model
from private_inference.costs.estimate import FREE, load_constants, rough_costs, rough_seconds
from private_inference.costs.link import Network
from private_inference.costs.measurement import load_subject
from private_inference.engine.cost import Costs
from private_inference.engine.protocols import PROTOCOLS, SET_UPS, EngineSettings, settle_set_up
from private_inference.program.comparison import with_bits
from private_inference.program.steps import INPUT, Program, Step
from private_inference.program.trace import build_program

# Round numbers, in powers of two: sums are exact.
CONSTANTS = {
    "linear": {
        "upload": {"opened": 2.0},
        "download": {"opened": 1.0, "outputs": 4.0},
        "rounds": {"products": 1.0, "step": 1.0},
        "seconds": {"step": 0.125, "macs": 2.0**-20},
    },
    "relu64": {
        "upload": {"comparisons": 64.0},
        "download": {"comparisons": 32.0},
        "rounds": {"step": 8.0},
        "seconds": {"step": 0.25, "comparisons": 2.0**-12},
    },
    "add": {"seconds": {"outputs": 2.0**-16}},
    "average_pool": {"upload": {"outputs": 4.0}, "download": {"outputs": 2.0}, "rounds": {"step": 1.0}},
    "output": {"download": {"image": 128.0}, "rounds": {"step": 1.0}},
}
SETTINGS = EngineSettings("semi2k", set_up=None)
MACHINE = {"processor": "an abacus", "cores": 1, "system": "sand"}


def program_of(path: Path) -> Program:
    return load_subject(path, BRANCH, fused=True, save_dir="").program


def test_a_network_costs_the_sum_of_its_steps(files) -> None:
    costs = rough_costs(program_of(files["masked"]), CONSTANTS, SETTINGS)
    layers = {step.layer: step for step in costs.steps}
    assert EMPTY not in layers
    # 16 maps of 32x32 out of 3 of that size, padded, through 3x3, every position times all taps.
    conv, outputs, weights = layers["conv1"].cold, 16 * 1024, 16 * 27
    opened = 34 * 34 * 3 + weights
    assert (conv.upload, conv.download) == (2 * opened, opened + 4 * outputs)
    assert (conv.rounds, conv.seconds) == (2, 0.125 + 34 * 34 * weights / 2**20)
    assert layers["add"].cold.seconds == outputs / 2**16
    assert layers["fc"].cold.upload == 2 * (64 + 640)

    counts = [count.kept for count in relu_counts(files.models["masked"]) if count.kept]
    relu = costs.part("relu", "cold")
    assert (relu.upload, relu.download, relu.rounds) == (64 * sum(counts), 32 * sum(counts), 8 * len(counts))
    assert relu.seconds == len(counts) / 4 + sum(counts) / 2**12
    assert layers["logits"].cold.download == 128

    # T = T_linear + N c + L r RTT/2 + bytes / bandwidth, the busier direction of each step.
    link = Network("slow", bandwidth=8e6, rtt=0.5)
    found = rough_seconds(costs, link, sum(counts))
    whole = costs.total("cold")
    assert found["seconds"]["rounds"] == whole.rounds * 0.25
    assert found["seconds"]["bytes"] == pytest.approx(
        sum(max(step.cold.upload, step.cold.download) for step in costs.steps) / 1e6
    )
    assert found["seconds"]["relu"] == relu.seconds
    parts = [found["seconds"][name] for name in ("linear", "relu", "rest", "rounds", "bytes")]
    assert found["seconds"]["total"] == pytest.approx(sum(parts))
    assert found["derived_from_published"] == pytest.approx(sum(counts) * 20.99e-6)


def test_a_kind_that_was_never_measured_is_named_and_not_free(files) -> None:
    program = program_of(files["masked"])
    without = {group: per for group, per in CONSTANTS.items() if group != "average_pool"}
    with pytest.raises(UserError, match="no constants for 'average_pool' steps such as avgpool"):
        rough_costs(program, without, SETTINGS)
    three = np.ones((3, 1, 1), np.float32)
    scaled = Step("affine", (INPUT,), "z", "norm", {"scale": three, "bias": three})
    with pytest.raises(UserError, match="no constants for 'affine' steps such as norm"):
        rough_costs(Program((3, 8, 8), (scaled,)), CONSTANTS, SETTINGS)


def measured_with(constants: dict, *paths: Path, kind: str = "loopback", machine: dict = MACHINE) -> dict:
    """What a measurement would have written, were these constants the truth; the first image costs twice as much."""
    records = []
    for path in paths:
        subject = load_subject(path, BRANCH, fused=True, save_dir="")
        steps = rough_costs(subject.program, constants, SETTINGS).steps
        costs = Costs(tuple(replace(step, cold=step.cold + step.cold) for step in steps))
        records.append({**subject.record.as_json(), "comparison": {}, "costs": costs.as_json()})
    engine, link = {"protocol": "semi2k", "batch": 1, "set_up": None}, {"kind": kind}
    return {"schema": SCHEMA, "machine": machine, "engine": engine, "link": link, "measured": records}


def fit(folder: Path, *every: dict) -> dict:
    """The constants that these measurements give."""
    names = []
    for number, results in enumerate(every):
        names.append(str(folder / f"{number}.json"))
        Path(names[-1]).write_text(json.dumps(results))
    out = folder / "constants.yaml"
    fit_private_inference.main(fit_private_inference.parse_args([*names, "--out", str(out)]))
    return load_constants(out)


def test_constants_are_found_again(files, tmp_path, capsys) -> None:
    found = fit(tmp_path, measured_with(CONSTANTS, files["full"]), measured_with(CONSTANTS, files["masked"]))
    assert found.machine == Machine(**MACHINE)
    assert "1.000" in capsys.readouterr().out  # estimated over measured
    for path in (files["full"], files["masked"]):
        program = program_of(path)
        for mine, true in zip(
            rough_costs(program, found.protocols["semi2k"], SETTINGS).steps,
            rough_costs(program, CONSTANTS, SETTINGS).steps,
            strict=True,
        ):
            assert mine.cold.values() == pytest.approx(true.cold.values(), rel=1e-3), mine.layer
    # Rounding of the fit is no constant.
    given = [constant for group in found.protocols["semi2k"].values() for per in group.values() for constant in per]
    assert len(given) <= sum(len(per) for group in CONSTANTS.values() for per in group.values())


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"kind": "emulated"}, "measured over emulated; constants come from loopback runs"),
        ({"machine": {**MACHINE, "cores": 2}}, "different machines"),
    ],
)
def test_measurements_that_are_no_source_of_constants(files, tmp_path, change: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        fit(tmp_path, measured_with(CONSTANTS, files["masked"]), measured_with(CONSTANTS, files["full"], **change))
    assert not (tmp_path / "constants.yaml").exists()


def test_a_checkpoint_that_has_changed_is_not_fitted(files, tmp_path) -> None:
    results = measured_with(CONSTANTS, files["masked"])
    results["measured"][0]["sha256"] = "0" * 64
    with pytest.raises(UserError, match="has changed since"):
        fit(tmp_path, results)


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_2", "vgg11", "MobileNetV2"])
def test_our_constants_know_every_step_of_every_family(name: str) -> None:
    program = build_program(build_model(name, num_classes=10, image_size=32).eval(), 0)
    for protocol, bits in product(PROTOCOLS, (32, 64)):
        compared = with_bits(program, bits, dict.fromkeys([step.output for step in program.steps], 0.0))
        constants = load_constants().protocols[protocol]
        costs = rough_costs(compared, constants, EngineSettings(protocol, set_up=settle_set_up(protocol, "emp")))
        free = [
            step.layer for step in costs.steps if not step.cold.seconds and step.kind not in (*FREE, "correlations")
        ]
        assert free == []


def test_our_constants_are_constants() -> None:
    protocols = load_constants().protocols
    assert protocols.keys() == PROTOCOLS.keys()
    for groups in protocols.values():
        for group, costs in groups.items():
            if group == "set_up":
                assert costs.keys() == SET_UPS.keys()
                continue
            assert costs.keys() <= fit_private_inference.GROWS_WITH[group].keys()
            constants = [constant for per in costs.values() for constant in per.values()]
            assert all(0 < constant < math.inf for constant in constants)


@pytest.mark.parametrize("content", [None, "[", "protocols: {}", "3"])
def test_a_damaged_file_of_constants_is_one_line(tmp_path, content: str | None) -> None:
    path = tmp_path / "constants.yaml"
    if content:
        path.write_text(content)
    with pytest.raises(UserError, match=r"(no|not) a file of constants of private inference"):
        load_constants(path)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_command_needs_no_engine(files, tmp_path, capsys, protocol: str) -> None:
    words = ["--path", str(files["full"]), str(files["masked"]), "--protocol", protocol, "--branch", str(BRANCH)]
    words += ["--network", "lan", "10,100", "--estimate-only", "--engine_python", str(tmp_path / "nowhere")]
    words += ["--save_dir", str(tmp_path), "--run_name", "guess"]
    measure_private_inference.main(measure_private_inference.parse_args(words))
    told = capsys.readouterr().out
    assert "ESTIMATED, nothing was run" in told
    assert "20.99 microseconds" in told
    written = json.loads((tmp_path / "private_inference" / "guess" / "estimate.json").read_text())
    rows = written["estimates"]
    assert [(row["relus"]["kept"] < row["relus"]["total"], row["network"]["name"]) for row in rows] == [
        *((False, name) for name in ("lan", "10,100")),
        *((True, name) for name in ("lan", "10,100")),
    ]
    for fast, slow in (rows[:2], rows[2:]):
        assert fast["bytes"] == slow["bytes"]
        assert fast["seconds"]["total"] < slow["seconds"]["total"]
        assert f"{slow['seconds']['total']:.2f}" in told
    full, masked = rows[0], rows[2]
    assert masked["bytes"] < full["bytes"]
    assert masked["rounds"] < full["rounds"]
    assert masked["seconds"]["relu"] < full["seconds"]["relu"]
