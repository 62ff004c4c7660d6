"""Costs of private inference add up, survive their file, and are told as tables, CSV and sentences."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.cost_examples import (
    ONE_OFF,
    RELU_BYTES,
    RELU_ROUNDS,
    RELUS,
    SMALL,
    budgets,
    measured_of,
    resnet20_costs,
    results_of,
)

from formats.checkpoint import Checkpoint
from formats.measured import Accuracy
from formats.private_costs import SCHEMA, CostsRecord, LinkRecord
from helper.errors import UserError
from models.restore import describe_model
from private_inference.costs.measurement import known_accuracy
from private_inference.costs.sentences import link_in_words, ratio_in_words, sentences
from private_inference.costs.tables import (
    ACCURACY_SOURCES,
    comparison_table,
    costs_csv,
    layer_table,
    read_costs,
)
from private_inference.engine.cost import PARTS, Cost, Costs, StepCost, part_of, priced, settle_rounds
from private_inference.program.steps import KINDS


def rows_of(text: str) -> dict[str, list[str]]:
    """{first cell: the other cells} of the lines of a table."""
    cells = [re.split(r"\s{2,}", line) for line in text.splitlines()]
    return {first: others for first, *others in cells if others}


def test_every_kind_of_step_belongs_to_one_part():
    assert sorted(kind for kinds in PARTS.values() for kind in kinds) == sorted(
        [*KINDS, "output", "set_up", "correlations"]
    )
    assert [part_of(kind) for kind in ("affine", "relu", "max_pool", "output")] == ["linear", "relu", "rest", "rest"]


def test_costs_add_up_and_are_shared_out():
    cost = Cost(1, 2, 3, 4.0) + Cost(10, 20, 30, 40.0)
    assert cost == Cost(11, 22, 33, 44.0)
    assert cost.bytes == 33
    assert cost.over(2) == Cost(5.5, 11, 16.5, 22.0)
    assert SMALL.total("cold") == Cost(4260, 1880, 28, 2.125)
    assert SMALL.total("warm") == Cost(3260, 1880, 27, 1.0625)
    assert SMALL.part("linear", "warm") == Cost(2500, 1020, 2, 0.625)
    assert SMALL.part("rest", "cold") == Cost(60, 120, 17, 0.375)


def test_rounds_are_the_fewest_messages_that_a_protocol_took():
    """A burst, of a large step or of one image, is no rounds; bytes and seconds stay those of each."""
    protocols = ["product", ("relu", None), "product", ("max_pool", (2, 2)), ("max_pool", (3, 3)), ("relu", None)]
    messages = [(649, 20, 2, 16, 24, 20), (3, 1301, 2, 16, 24, 20)]
    runs = [[Cost(n, 2 * n, n, n / 8) for n in image] for image in messages]
    settled = settle_rounds(protocols, runs)
    assert [[cost.rounds for cost in run] for run in settled] == [[2, 20, 2, 16, 24, 20]] * 2
    kept = [[(cost.upload, cost.download, cost.seconds) for cost in run] for run in settled]
    assert kept == [[(n, 2 * n, n / 8) for n in image] for image in messages]


def test_costs_come_back_from_their_file_as_they_were():
    for costs in (SMALL, resnet20_costs(28_262, warm=False)):
        content = json.loads(json.dumps(costs.as_json()))
        assert Costs.from_record(CostsRecord.model_validate(content)) == costs
        for state, parts in content["parts"].items():
            summed = sum((Cost(**part) for part in parts.values()), Cost())
            assert summed.values() == pytest.approx(Cost(**content["total"][state]).values())
    assert content["total"].keys() == {"cold"}


def test_one_step_without_a_warm_image_leaves_only_cold_figures():
    costs = Costs((SMALL.steps[1], StepCost("fc", "linear", 0, Cost(500, 20, 1, 0.25))))
    assert costs.states == ("cold",)
    assert costs.steps[1].at("warm") == Cost(500, 20, 1, 0.25)


def test_the_layer_table_holds_the_sums():
    rows = rows_of(layer_table(measured_of(SMALL, 10, label="small")))
    assert rows["conv1"] == ["conv", "2,000", "1,000", "1", "0.500"]
    assert rows["relu"] == ["ReLU", "10", "700", "740", "8", "0.250"]
    assert rows["2 local steps (shift, flatten)"] == ["0", "0", "0", "0.125"]
    assert "normalize" not in rows
    assert rows["linear layers"] == ["2,500", "1,020", "2", "0.625"]
    assert rows["ReLUs"] == ["10", "700", "740", "8", "0.250"]
    assert rows["rest (pooling, logits)"] == ["6", "60", "120", "17", "0.188"]
    assert rows["total, first image (cold)"] == ["16", "4,260", "1,880", "28", "2.125"]
    assert rows["total, later images (warm)"] == ["16", "3,260", "1,880", "27", "1.062"]


def test_a_layer_table_of_one_image_is_cold():
    text = layer_table(measured_of(resnet20_costs(28_262, warm=False), 28_262))
    assert "warm" not in text
    assert "28,262 of 188,416 ReLUs (15.0 %)" in text
    one_off = int(ONE_OFF.upload + 8 * 3072)
    assert rows_of(text)["conv1"][1] == f"{one_off:,}"


def test_a_step_that_is_local_but_for_the_first_image_keeps_its_line():
    late = StepCost("conv1", "conv", 0, Cost(8, 8, 1, 1.0), Cost(seconds=0.5))
    assert rows_of(layer_table(measured_of(Costs((late, *SMALL.steps[2:])), 10)))["conv1"] == ["conv", *"000", "0.500"]


def test_the_comparison_has_a_row_a_checkpoint():
    results = budgets(RELUS, 28_262)
    lines = comparison_table(results).splitlines()
    assert re.split(r"\s{2,}", lines[0]) == [
        *("checkpoint", "ReLUs", "comparing", "ReLU MB", "linear MB", "total MB", "rounds", "cold s", "warm s"),
        *("est. wan s", "CA %", "AdvA %", "same class", "logit error"),
    ]
    costs = resnet20_costs(28_262)
    relu, linear = 28_262 * RELU_BYTES / 1e6, costs.part("linear", "warm").bytes / 1e6
    rounds = 19 * RELU_ROUNDS + 21 + 1 + 1  # ReLUs, convolutions, linear layer, logits
    cold, warm = costs.total("cold").seconds, costs.total("warm").seconds
    assert cold == pytest.approx(warm + 0.5)
    assert rows_of("\n".join(lines))["Customresnet20, 28,262 ReLUs"] == [
        *("28,262", "19", f"{relu:.2f}", f"{linear:.2f}", f"{relu + linear + 80 / 1e6:.2f}", str(rounds)),
        *(f"{cold:.2f}", f"{warm:.2f}", "35.25", "59.80", "21.55", "99/100", "3.0e-04"),
    ]
    notes = "\n".join(lines[4:])
    assert "ESTIMATED seconds of the later images (warm), not measured; wan is 100 Mbit/s, 40 ms round trip" in notes
    assert "CA, AdvA: validation on 10,000 images, branch 0" in notes


def test_columns_that_nothing_fills_are_left_out_and_gaps_are_dashes():
    costs = resnet20_costs(100, warm=False)
    bare = measured_of(costs, 100, label="bare", accuracy=None, agreement=None, estimates=[])
    text = comparison_table(results_of(bare, images=1))
    assert re.split(r"\s{2,}", text.splitlines()[0])[-2:] == ["rounds", "cold s"]
    assert not re.search("warm|CA|ESTIMATED|PyTorch", text)

    trained = {"source": "training", "images": 500, "CA": 70.0, "NPA": 60.0, "AdvA": None}
    text = comparison_table(results_of(bare, measured_of(costs, 200, label="full", accuracy=trained), images=1))
    assert rows_of(text)["bare"][-5:] == ["-"] * 5
    assert rows_of(text)["full"][-5:] == ["81.00", "70.00", "60.00", "99/100", "3.0e-04"]
    assert "CA, NPA: the training run's own evaluation (its held-out images) on 500 images" in text
    text = comparison_table(results_of(measured_of(costs, 1, label="a"), measured_of(costs, 2, accuracy=trained)))
    assert "CA, NPA, AdvA of a: validation on 10,000 images" in text


@pytest.mark.parametrize(("select_on", "said"), [("heldout", "held-out"), ("test", "test"), ("last", "test")])
def test_accuracy_of_a_training_run_says_which_images_it_is_of(network, tmp_path, select_on, said):
    about = {"args": {"select_on": select_on}, "metrics": Accuracy(images=10, CA={"0": 50.0})}
    checkpoint = Checkpoint(**describe_model("resnet8", network()), **about)
    found = known_accuracy(tmp_path / "best.pth", checkpoint, 0, str(tmp_path))
    assert found.CA == 50
    assert f"({said} images)" in ACCURACY_SOURCES[found.source].replace("its ", "")


def test_the_csv_adds_up_to_the_totals():
    results = budgets(RELUS, 28_262)
    lines = list(csv.DictReader(io.StringIO(costs_csv(results))))
    assert len(lines) == 2 * 2 * len(resnet20_costs(1).steps)
    for measured in results.measured:
        for state, expected in measured.costs.total.items():
            of_state = [line for line in lines if line["file"] == measured.file and line["state"] == state]
            for column in ("upload", "download", "rounds", "seconds"):
                key = f"{column}_bytes" if column.endswith("load") else column
                assert sum(float(line[key]) for line in of_state) == pytest.approx(getattr(expected, column))
            assert sum(int(line["comparisons"]) for line in of_state) == measured.relus.kept
    first = lines[2]
    assert (first["layer"], first["part"], first["state"], first["protocol"]) == ("conv1", "linear", "cold", "semi2k")
    assert first["upload_bytes"] == str(8 * 3072 + 1000)


def test_the_sentences_tell_what_was_not_measured_in_order():
    said = sentences(budgets(28_262, RELUS))
    opening = ["A trusted dealer", "Cold is", "Bytes and rounds", "Seconds were", "No linear layers were fused"]
    assert [line[: len(start)] for line, start in zip(said, opening, strict=False)] == opening
    assert "the mean over the 99 images after it" in said[1]
    assert "loopback" in said[3]
    old, new = resnet20_costs(RELUS).total("warm").bytes, resnet20_costs(28_262).total("warm").bytes
    assert said[5] == (
        "Customresnet20, 28,262 ReLUs against Customresnet20, 188,416 ReLUs: 6.7 times fewer ReLUs, "
        f"6.7 times fewer ReLU bytes, {old / new:.1f} times fewer bytes in all."
    )
    assert said[6:] == ["ReLU bytes per kept ReLU: 144.0, the same in all."]


def test_sentences_that_do_not_apply_are_left_out():
    engine = {"name": "SPU", "version": "0.9.5", "protocol": "cheetah", "field_bits": 64, "dealer": False}
    link = {"kind": "emulated", "name": "wan", "bandwidth": 1e8, "rtt": 0.04}
    measured = measured_of(resnet20_costs(0, warm=False), 0, fused=["a, b: 9 -> 6 multiply-accumulates"])
    said = sentences(results_of(measured, images=1, engine=engine, link=link))
    assert said[0].startswith("Only one image was run")
    assert said[2:] == [
        "Seconds were measured over an emulated link, wan (100 Mbit/s, 40 ms round trip).",
        "Linear layers made one: a, b: 9 -> 6 multiply-accumulates.",
    ]


def test_bursts_and_the_set_up_are_rows_of_their_own_and_a_batch_is_shared_out():
    names, protocols = [("conv", "conv", 0), ("relu", "relu", 6)], ["product", "relu"]
    usual, burst = [Cost(80, 40, 3, 2.0), Cost(60, 20, 15, 1.0)], [Cost(80, 40, 3, 2.0), Cost(460, 220, 40, 3.0)]
    once = Cost(1000, 900, 0, 5.0)
    costs = priced(names, protocols, [usual, burst, usual], 2, replace(once, rounds=30))
    layers = {step.layer: step for step in costs.steps}
    assert layers["relu"].warm == Cost(30, 10, 7.5, 1.0)
    assert layers["correlations made ahead"].warm == Cost(100, 50, 0, 0)
    assert layers["correlations made ahead"].cold == Cost()
    assert costs.set_up == once
    assert costs.total("cold") == once + Cost(70, 30, 9, 1.5)
    assert "of which set up once" in layer_table(measured_of(costs, 6))
    assert Costs.from_record(CostsRecord.model_validate(costs.as_json())) == costs


def test_the_bits_of_comparisons_and_other_classes_are_told():
    bits = {"relu": 32, "pool": 64}
    agreement = {"images": 2, "same_class": 1, "largest_logit_error": 1e-3, "right": 1}
    agreement["other_class"] = [{"image": 7, "margin": 0.0004}]
    measured = measured_of(resnet20_costs(5), 5, label="one", comparison=bits, agreement=agreement)
    said = sentences(results_of(measured))
    assert any(line.endswith("or were not tried: one: pool.") for line in said)
    assert "one: another class than PyTorch's for image 7, whose two best logits are 4.0e-04 apart." in said
    narrow = sentences(results_of(measured.model_copy(update={"comparison": {"relu": 32}})))
    assert any("no layer's values came near the bound" in line for line in narrow)


def test_sentences_about_networks_that_differ():
    none, other = measured_of(resnet20_costs(0), 0, label="none"), {"kept": 50, "total": RELUS + 1}
    some = measured_of(resnet20_costs(50), 50, label="some", relus=other, fused=["a, b"])
    dear = resnet20_costs(100).as_json()
    for layer in dear["layers"]:
        if layer["kind"] == "relu":
            layer["warm"]["upload"] *= 2
    third = measured_of(resnet20_costs(1), 50).model_copy(update={"costs": CostsRecord.model_validate(dear)})
    said = sentences(results_of(none, some, third))
    assert said[4] == "Linear layers made one: none: none. some: a, b. Customresnet20, 50 ReLUs: none."
    assert said[5].startswith("none against some: no ReLUs, no ReLU bytes, about as many bytes in all; they are diff")
    assert said[6] == "ReLU bytes per kept ReLU: 144.0 to 432.0, 200.0 % apart at most."


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (557_056, 25_000, "22.3 times fewer"),
        (10, 13, "1.3 times more"),
        (100, 98, "about as many"),
        (98, 100, "about as many"),
        (5, 0, "no"),
        (0, 0, "as many"),
        (0, 5, "more"),
    ],
)
def test_ratios_in_words(before: int, after: int, expected: str):
    assert ratio_in_words(before, after) == expected


def test_links_in_words():
    assert link_in_words(LinkRecord(kind="network")) == "a network between the parties"
    fast = LinkRecord(kind="network", bandwidth=2e9, rtt=0.0005)
    assert link_in_words(fast).endswith("(2 Gbit/s, 0.5 ms round trip)")


def test_costs_are_read_from_a_file_or_its_folder(tmp_path: Path):
    results = budgets(10)
    path = tmp_path / "private_inference.json"
    path.write_text(json.dumps(results.as_json()))
    assert read_costs(path) == read_costs(str(tmp_path)) == results


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "no such JSON file"),
        ("{", "damaged"),
        ("[]", "not a private_inference.json, .*it is a list of 0"),
        ('{"schema": "rlnet-results-2"}', f"schema is 'rlnet-results-2'; it should be '{SCHEMA}'"),
    ],
)
def test_files_that_are_none_are_told_in_one_line(tmp_path: Path, content: str | None, complaint: str):
    path = tmp_path / "costs.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=complaint) as error:
        read_costs(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
