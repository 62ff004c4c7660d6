"""plan_budget.py and stage 1's budgets in seconds, on digits: what they write, what takes it, and bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from support.running import fails, run
from support.runs import SMALL, plan_of
from support.zoos import save_digits_network

import plan_budget as script
import train_student_stage1_multigpu as stage1
from helper.errors import UserError
from masks.counting import relu_counts
from models.layers import relu_sites
from models.restore import load_model
from private_inference.costs.estimate import load_constants
from private_inference.costs.link import network
from private_inference.costs.prices import relu_prices
from private_inference.engine.protocols import EngineSettings

MEASURED = "sensitivity/resnet20_cifar10_linearize.yaml"
ATTACKED = {"attack_mode": "nfgsm", "augment_mode": "augmix", "eps": 8 / 255, "step_size": 2 / 255, "steps": 1}
STAGE1 = f"train_student_stage1_multigpu.py --model_s Customresnet8 --use2BN --attack_mode pgd {SMALL}"


@pytest.fixture
def teacher(tmp_path) -> Path:
    return save_digits_network(tmp_path / "run" / "teacher.pth", args=ATTACKED)


def plan(command: str) -> None:
    script.main(script.parse_args([*command.split(), "--device", "cpu"]))


def half_of_the_relus(path: Path) -> str:
    """Seconds over the wan that pay for half of what the ReLUs take: whatever the constants are, some layers close."""
    prices = relu_prices(load_model(path)[0], load_constants().protocols["cheetah"], EngineSettings())
    everything = prices.seconds([site.total for site in relu_sites(load_model(path)[0]).values()], network("wan"))
    return f"{(prices.linear_seconds(network('wan')) + everything) / 2:.1f}"


@pytest.mark.slow
def test_the_frontier_of_every_link_and_a_budget_that_stage_1_takes(teacher, tmp_path, capsys):
    out = tmp_path / "out"
    plan(f"{teacher} --network lan wan 100,40 --images 24 --points 6 --out {out}")
    told = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"frontier.json", "frontier.png", "frontier.pdf"}
    links = json.loads((out / "frontier.json").read_text())["links"]
    assert [link["link"]["name"] for link in links] == ["lan", "wan", "100,40"]
    for link in links:
        seconds, relus = ([point[key] for point in link["frontier"]] for key in ("seconds", "relus"))
        assert seconds == sorted(seconds)
        assert min(seconds) > link["linear_seconds"]
        assert relus[-1] == link["networks"]["all ReLUs"]["relus"]
        assert link["frontier"][-1]["loss"] == pytest.approx(0, abs=1e-9)
        assert [point["relus"] for point in link["plain"]] == relus
        assert f"{seconds[0]:.3f}" in told
    # wan and 100,40 are one link: the same frontier
    assert links[1]["frontier"] == links[2]["frontier"]

    half = half_of_the_relus(teacher)
    plan(f"{teacher} --network wan --images 24 --points 3 --out {out} --write {half}")
    written = out / f"{half}s_wan_cheetah.yaml"
    kept = yaml.safe_load(written.read_text())["relus"]
    assert 0 in kept
    assert f"--sensitivity {written}" in capsys.readouterr().out
    options = f"{STAGE1} --path_t {teacher} --amp none --save_dir {tmp_path}/save --sensitivity {written}"
    settled = plan_of(options)
    assert list(settled.distillation.budget.layers) == kept
    assert settled.distillation.budget.label == f"{half}s_wan_cheetah"


def test_relus_for_the_fewest_seconds_without_data(teacher, tmp_path):
    plan(f"{teacher} --network wan --images 0 --points 2 --out {tmp_path} --write_relus 9% --protocol semi2k")
    (written,) = tmp_path.glob("relu*k_wan_semi2k.yaml")
    kept = yaml.safe_load(written.read_text())["relus"]
    total = sum(site.total for site in relu_sites(load_model(teacher)[0]).values())
    assert int(0.09 * total) <= sum(kept) <= 0.1 * total


def test_a_student_bounds_its_budgets(tmp_path):
    student = save_digits_network(tmp_path / "run" / "student.pth", kept=300)
    plan(f"{student} --network wan --images 0 --points 3 --out {tmp_path}")
    (link,) = json.loads((tmp_path / "frontier.json").read_text())["links"]
    assert link["frontier"][-1]["kept"] == [300] * 7


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", "--mask_granularity channel", "--mask_search snl"])
def test_stage_1_plans_prints_and_keeps_a_budget_in_seconds(more, teacher, tmp_path):
    half = half_of_the_relus(teacher)
    budget = f"--seconds_budget {half} --network wan"
    save = f"--mask_freeze_epochs 1 --epochs 2 --save_dir {tmp_path}"
    out = run(f"{STAGE1} --path_t {teacher} {budget} {save} {more}")
    assert "layers stay open" in out
    assert "as many, without prices" in out
    (best,) = tmp_path.rglob("*_best_TA0.0.pth")
    assert f"{half}s_wan" in best.parent.name
    model, checkpoint = load_model(best)
    kept = [count.kept for count in relu_counts(model)]
    assert list(checkpoint.budget.layers) == kept
    planned = re.findall(r"^(?:relu|layer\d\S+) .*", out, re.MULTILINE)
    assert [count > 0 for count in kept] == ["closed" not in line for line in planned]
    assert 0 in kept
    again = run(f"{STAGE1} --path_t {teacher} {budget} {save} {more} --resume auto")
    assert "layers stay open" not in again
    assert "this run is finished" in again


def test_options_that_do_not_go_together(teacher, tmp_path):
    start = f"{STAGE1} --path_t {teacher} --amp none --save_dir {tmp_path}"
    for options, words in {
        "--relu_budget 1k --network wan": "--network: only with --seconds_budget",
        "--relu_budget 1k --protocol semi2k --inference_batch 4": "--protocol, --inference_batch: only with",
        "--seconds_budget 5": "--seconds_budget needs the link",
        "--seconds_budget 5 --network wan --budget_shares search": "--budget_shares search",
        "--relu_budget 1k --layer_sensitivity ResNet18_C10_relu82k_sensitivity": "it holds no sensitivities",
        "--relu_budget 1k --layer_sensitivity x.yaml --mask_search snl": "which the search does here",
        "--sensitivity x --layer_sensitivity x.yaml": "which --sensitivity does here",
        "--seconds_budget 5 --network wan --mask_from zoo:none": "zoo:none",
    }.items():
        with pytest.raises(UserError, match=words):
            plan_of(f"{start} {options}")


@pytest.mark.parametrize(
    "options",
    ["--seconds_budget 0", "--seconds_budget -1", "--seconds_budget 1 --relu_budget 2", "--seconds_budget nan"],
)
def test_one_budget_above_0(options, capsys):
    with pytest.raises(SystemExit):
        stage1.parse_args(["--model_s", "Customresnet8", "--path_t", "t", *options.split()])
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.slow
def test_bad_input_is_one_line(teacher, tmp_path):
    (tmp_path / "torn.yaml").write_text("fractions: [")
    (tmp_path / "other.yaml").write_text("a: 1")
    start = f"{STAGE1} --path_t {teacher} --save_dir {tmp_path}/save"
    for command, words in {
        f"plan_budget.py {teacher} --network moon": "'moon' is no network",
        f"plan_budget.py {teacher} --network wan --write -3": "-3 is not a number from 0",
        f"plan_budget.py {teacher} --write 3": "plan for one link",
        f"plan_budget.py {teacher} --network wan --images 0 --write 1": "which no budget saves",
        f"plan_budget.py {teacher} --images 0 --sensitivity {tmp_path}/torn.yaml": "not a budget file",
        f"plan_budget.py {teacher} --images 0 --network wan --write_relus 100k": "--write_relus 100000",
        f"plan_budget.py {teacher} --images 0 --sensitivity {MEASURED}": "cifar10_linearize.yaml names 19",
        f"plan_budget.py {teacher} --protocol gmw": "--protocol: invalid choice",
        f"{start} --seconds_budget 1 --network wan": "ask for",
        f"{start} --seconds_budget 9 --network wan --protocol aby": "--protocol: invalid choice",
        f"{start} --sensitivity {tmp_path}/other.yaml": "not a budget file",
    }.items():
        assert words in fails(command), command
    assert not (tmp_path / "save").exists()
