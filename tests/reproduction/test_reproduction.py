"""A configuration becomes steps; steps run once, stop in time, and go on."""

from __future__ import annotations

import signal
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from support.running import fails, run

from helper.errors import UserError
from helper.text import duration, percent
from helper.zoo import entry_of
from reporting.results import read_results
from reproduction.config import budget_of, config_names, read_config
from reproduction.costs import Sizes, passes
from reproduction.ledger import Ledger
from reproduction.runner import Runner
from reproduction.steps import Place, Step, as_arguments, plan
from reproduction.table import training_cells

SMALL = {
    "model": "resnet8",
    "dataset": "digits",
    "training": {"batch_size": 64, "limit_train_batches": 1, "limit_val_batches": 1, "eval_steps": 1, "amp": "none"},
    "teacher": {"epochs": 1},
    "stage1": {"epochs": 2},
    "stage2": {"dense": True, "epochs": 1},
    "budgets": ["15%"],
    "evaluation": {"limit_val_batches": 1, "steps": 1, "corruptions": "none", "no_figures": True},
    "rounds": {"short": {}},
}


@pytest.fixture
def config_file(tmp_path):
    def write(**changes) -> Path:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes}))
        return path

    return write


def steps_of(path: Path, save: Path) -> list[Step]:
    config = read_config(path)
    return plan(config, Place(save, "data"), [one.name for one in config.rounds])[0]


def options_of(step: Step) -> dict[str, str]:
    words = step.command
    return {word: following for word, following in pairwise(words) if word.startswith("--")}


@pytest.mark.parametrize("name", config_names())
def test_every_configuration_of_the_repository_has_a_plan(name, tmp_path):
    config = read_config(name)
    steps, rows = plan(config, Place(tmp_path, "data"), [one.name for one in config.rounds])
    assert len({step.name for step in steps}) == len(steps)
    assert {row.role for row in rows} >= {"teacher", "student"}


def test_a_chain_passes_its_files_on(config_file, tmp_path):
    robust = {"attack_mode": "nfgsm", "use2BN": True, "ema": 0.9}
    path = config_file(training={**SMALL["training"], **robust}, interpolate=0.5, private={"images": 1})
    steps = {step.name: step for step in steps_of(path, tmp_path)}
    teacher = f"{tmp_path}/models/short_teacher/resnet8_best_ema_TA0.0.pth"
    assert options_of(steps["short_mask_15pct"])["--path_t"] == teacher
    assert options_of(steps["short_mask_15pct"])["--relu_budget"] == str(round(0.15 * 73728))
    searched = f"{tmp_path}/student_model/stage1/short_mask_15pct/Customresnet8_best_ema_TA0.0.pth"
    assert options_of(steps["short_student_15pct"])["--path_s_load"] == searched
    tuned = f"{tmp_path}/student_model/stage2/short_student_15pct/Customresnet8_stage2_best_ema_TA0.0.pth"
    assert steps["short_interpolated_15pct"].command[1] == tuned
    assert list(steps).index("short_teacher_private") > list(steps).index("short_student_15pct_evaluation")


def test_an_interpolated_network_is_fine_tuned_through_its_one_branch(config_file, tmp_path):
    common = {**SMALL["training"], "use2BN": True, "attack_mode": "nfgsm"}
    path = config_file(training=common, interpolate=0.4, one_branch={"epochs": 3})
    config = read_config(path)
    steps, rows = plan(config, Place(tmp_path, "data"), ["short"])
    made = {step.name: step for step in steps}
    mixed, single = made["short_interpolated_15pct"], made["short_one_branch_15pct"]
    assert options_of(mixed)["--weight"] == "0.4"
    assert options_of(single)["--path_s_load"] == str(mixed.product)
    assert options_of(single)["--epochs"] == "3"
    assert {"--use1BN", "--dense"} <= set(single.command)
    assert "--use2BN" not in single.command
    assert single.branches == 1
    assert [row.role for row in rows] == ["teacher", "student", "interpolated", "one_branch"]


def test_a_round_changes_what_it_names_and_may_take_the_teacher_of_another(config_file, tmp_path):
    rounds = {"first": {}, "second": {"teacher_of": "first", "stage2": {"epochs": 5}, "evaluation": None, "seeds": [3]}}
    config = read_config(config_file(rounds=rounds))
    second = config.rounds[1]
    assert (second.stage2["epochs"], second.stage2["batch_size"], second.evaluation) == (5, 64, None)
    steps, rows = plan(config, Place(tmp_path, "data"), ["second"])
    assert [step.name for step in steps] == ["second_mask_15pct_seed3", "second_student_15pct_seed3"]
    assert [row.role for row in rows] == ["student"]
    assert "/first_teacher/" in options_of(steps[0])["--path_t"]


def test_a_student_has_the_teacher_of_its_seed_where_there_is_one(config_file, tmp_path):
    rounds = {"first": {"seeds": [0, 3]}, "second": {"teacher_of": "first", "seeds": [3, 4]}}
    steps = steps_of(config_file(rounds=rounds), tmp_path)
    made = {step.name: str(step.product) for step in steps}
    taught = {step.name: options_of(step)["--path_t"] for step in steps if step.kind == "stage1"}
    assert taught["second_mask_15pct_seed3"] == made["first_teacher_seed3"]
    assert taught["second_mask_15pct_seed4"] == made["first_teacher"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rounds": {}}, "rounds is a table of 0; it .* at least 1 item"),
        ({"budget": ["5%"]}, "nobody knows its field budget"),
        ({"rounds": {"a": {"teachers": {}}}}, "nobody knows its field rounds.a.teachers"),
        ({"rounds": {"a": {"teacher_of": "b"}}}, "teacher_of b is no round before it"),
        ({"rounds": {"a": {"teacher": {"epochs": None}}}}, "teacher needs 'epochs'"),
        ({"rounds": {"a": {"teacher": {"epochs": "many"}}}}, "should have a whole number as epochs"),
        ({"one_branch": {"epochs": 1}, "training": {"use2BN": True}}, "one_branch .* needs interpolate"),
        ({"one_branch": {"epochs": 1}, "interpolate": 0.5}, "needs .* use2BN or use3BN"),
        ({"checkpoint": "best"}, "checkpoint is 'best'; it should be 'TA' or 'ATA'"),
        ({"budgets": "15%"}, "budgets is '15%'"),
        ({"evaluation": {"limit_val_batches": [5]}}, "should have a whole number as limit_val_batches"),
        ({"teacher": 3}, "teacher is 3; it should be a valid dictionary"),
    ],
)
def test_a_wrong_configuration_is_one_line(config_file, changes, said):
    with pytest.raises(UserError, match=said):
        read_config(config_file(**changes))


def test_budgets_as_written():
    meant = {"25%": 50_000, "50k": 50_000, "123": 123, "100%": 200_000}
    assert {text: budget_of(text, 200_000, "here") for text in meant} == meant
    assert budget_of("9%", 73_728, "here") == 6635, "6,635.5, and stage 1 rounds down"
    for text in ("101%", "-1", "many", "%", "nan%", "inf%"):
        with pytest.raises(UserError, match="here: budget"):
            budget_of(text, 200_000, "here")


def test_options_as_arguments():
    given = {"epochs": 3, "use2BN": True, "use3BN": False, "ema": None, "network": ["lan", "wan"]}
    assert list(as_arguments(given)) == ["--epochs", "3", "--use2BN", "--network", "lan", "wan"]


def test_passes_are_counted_by_hand(config_file, tmp_path):
    robust = {"attack_mode": "pgd", "steps": 7, "use2BN": True, "augment_mode": "augmix", "eval_steps": 10}
    teacher = steps_of(config_file(training=robust, teacher={"epochs": 2}), tmp_path)[0]
    # Half of the images give clean and aug, half adv: 3 halves there and back, half of them attacked by 7 steps.
    training = 900 * (3 * 1.5 + 0.5 * 2 * 7)
    judging = 100 * 2 + 100 * 21
    testing = 2 * 2 * 500 * 22
    assert passes(teacher, Sizes(train=1000, heldout=100, test=500)) == 2 * (training + judging) + testing


def test_an_evaluation_counts_the_branches_that_it_attacks(config_file, tmp_path):
    def counted(**evaluation) -> float:
        path = config_file(
            training={"attack_mode": "pgd", "use2BN": True},
            evaluation={"steps": 10, "corruptions": "none"} | evaluation,
        )
        return passes(steps_of(path, tmp_path)[1], Sizes(train=1000, heldout=100, test=500))

    # Clean, self-checks; FGSM; PGD.
    assert counted() == 500 * (2 + 2 + 2 * 3 + 2 * 21)
    assert counted(attack_branches="adversarial") == 500 * (2 + 2 + 3 + 21)


def test_durations_in_words():
    assert [duration(seconds) for seconds in (75, 600, 9000)] == ["75 s", "10 min", "2.5 h"]


def command(path: Path, tmp_path: Path, more: str = "") -> str:
    return f"reproduce.py --config {path} --save_dir {tmp_path}/save {more}"


@pytest.mark.slow
def test_a_reproduction_runs_once_and_its_table_says_what_was_measured(config_file, tmp_path):
    path = config_file(budgets=[])  # a teacher and its evaluation
    first = run(command(path, tmp_path, f"--publish {tmp_path}/results.md"))
    assert "all steps are done" in first
    table = (tmp_path / "results.md").read_text()
    assert "| teacher, short | 73,728 (100 %) | 0 |" in table
    assert "| NPA | PGD at 8/255 | AutoAttack |" in table
    assert (tmp_path / "save/small/report.html").exists()
    assert "$ python" not in run(command(path, tmp_path))
    assert "left: 0 s" in run(command(path, tmp_path, "--dry_run"))


@pytest.mark.slow
def test_npa_comes_from_a_measurement_of_its_own(config_file, tmp_path):
    noise = {"limit_val_batches": 1, "corruptions": "common", "generate": True, "attack_mode": "none"}
    path = config_file(budgets=[], corruptions=noise)
    run(command(path, tmp_path, f"--publish {tmp_path}/results.md"))
    apart, together = (
        read_results(tmp_path / f"save/small/validation/short_teacher_{kind}/results.json").accuracy
        for kind in ("corruptions", "evaluation")
    )
    assert not together.NPA
    assert not apart.AdvA
    written = [f"{percent(values['0'])}" for values in (together.CA, apart.NPA, together.AdvA)]
    assert f"| 0 | {' | '.join(written)} |" in (tmp_path / "results.md").read_text()


@pytest.mark.slow
def test_wrong_calls_are_one_line(config_file, tmp_path):
    path = config_file()
    assert "known are" in fails("reproduce.py --config none_such")
    assert "--rounds long: " in fails(command(path, tmp_path, "--rounds long"))
    assert "write 90s, 150m or 2.5h" in fails(command(path, tmp_path, "--time_budget 3"))


@pytest.fixture
def own_signals():
    """A runner takes the signals of its process; the tests' own come back."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def make_step(tmp_path: Path, code: str) -> Step:
    marker = tmp_path / "marker"
    return Step("step", "teacher", ("-c", code.format(marker=marker)), marker, marker)


def test_a_step_is_done_when_it_ended_well_and_left_its_marker(tmp_path, own_signals):
    ledger = Ledger(tmp_path / "steps.json")
    step = make_step(tmp_path, "open({marker!r}, 'w')".replace("{marker!r}", "r'{marker}'"))
    assert Runner(ledger, None, threads=1).run(step)
    assert Ledger(tmp_path / "steps.json").is_done(step)
    changed = Step(step.name, step.kind, (*step.command, "--more"), step.marker, step.product)
    assert not ledger.is_done(changed)
    step.marker.unlink()
    assert not ledger.is_done(step)


def test_a_failure_is_an_error_and_a_deadline_is_not(tmp_path, own_signals):
    ledger = Ledger(tmp_path / "steps.json")
    with pytest.raises(UserError, match="ended with status 3"):
        Runner(ledger, None, threads=None).run(make_step(tmp_path, "raise SystemExit(3)"))
    late = Runner(ledger, 0, threads=None)
    assert not late.run(make_step(tmp_path, "import time; time.sleep(60)"))
    assert late.stopping
    assert not ledger.is_done(make_step(tmp_path, ""))


def test_a_terminal_that_ends_the_step_too_stops_the_rest(tmp_path, own_signals):
    runner = Runner(Ledger(tmp_path / "steps.json"), None, threads=None)
    told = "import os, signal; os.kill(os.getppid(), signal.SIGINT); raise SystemExit(130)"
    assert not runner.run(make_step(tmp_path, told))
    assert runner.stopping


def test_children_run_on_as_many_threads_as_asked_for(tmp_path, own_signals):
    code = "import os; open(r'{marker}', 'w').write(os.environ['OMP_NUM_THREADS'])"
    step = make_step(tmp_path, code)
    Runner(Ledger(tmp_path / "steps.json"), None, threads=1).run(step)
    assert step.marker.read_text() == "1"


def test_epochs_and_hours_count_those_of_a_given_teacher(config_file, tmp_path, monkeypatch):
    monkeypatch.setattr("reproduction.table.read_results", lambda path: SimpleNamespace(wall_time_s=1800))
    zoo, own = "zoo:cifar10_resnet20_teacher_24", str(tmp_path / "own.pth")

    def cells(teacher_file: str) -> list[str]:
        path = config_file(model="resnet20", dataset="cifar10", rounds={"a": {"teacher_file": teacher_file}})
        return training_cells(plan(read_config(path), Place(tmp_path, "data"), ["a"])[1][-1])

    assert cells(own) == ["3 + its teacher's", "1.0 + its teacher's"]
    assert cells(zoo) == ["27", f"{1 + entry_of(zoo.removeprefix('zoo:')).hours:.1f}"]


def test_a_damaged_record_is_one_line(tmp_path):
    (tmp_path / "steps.json").write_text("[1]")
    with pytest.raises(UserError, match="not the record of a reproduction"):
        Ledger(tmp_path / "steps.json")
