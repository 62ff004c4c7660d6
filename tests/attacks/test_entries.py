"""Attacks are entries: who is found, who runs before whom, who judges, and what the command line makes of them."""

from __future__ import annotations

import importlib

import pytest

from attacks.attack import Attack, AttackSettings, attack_named, attacks, judge_of, up_to
from evaluation.options import evaluation_attacks
from helper.errors import UserError
from training.options import evaluation_attack, training_attack

STAGES = {
    "train_teacher": "",
    "train_student_stage1_multigpu": "--path_t=t --model_s=CustomResNet18 --relu_budget=1",
    "train_student_stage2_multigpu": "--path_t=t --model_s=CustomResNet18 --path_s_load=s",
}


def parse(script: str, options: str):
    return importlib.import_module(script).parse_args(options.split())


def names(found: list[Attack]) -> list[str]:
    return [attack.name for attack in found]


def test_an_evaluation_runs_the_weaker_ones_of_the_norm_first():
    assert list(attacks()) == ["fgsm", "nfgsm", "pgd", "autoattack", "pgd_l2"]
    assert names(up_to(attack_named("autoattack"))) == ["fgsm", "pgd", "autoattack"]
    assert names(up_to(attack_named("pgd_l2"))) == ["pgd_l2"]
    with pytest.raises(UserError, match="apgd; there are fgsm, nfgsm, pgd"):
        attack_named("apgd")


def test_epochs_are_judged_in_the_norm_of_training():
    assert names(map(judge_of, attacks().values())) == ["pgd", "pgd", "pgd", "pgd", "pgd_l2"]

    class Alone(Attack):
        norm = "L1"

    alone = Alone()
    assert judge_of(alone) is alone


@pytest.mark.parametrize("script", STAGES)
def test_lengths_default_to_the_customary_ones_of_the_attack(script: str):
    def settled(options: str) -> tuple[AttackSettings | None, AttackSettings | None]:
        args = parse(script, f"{STAGES[script]} {options}")
        return training_attack(args), evaluation_attack(args)

    assert settled("") == (None, None)
    eps, step = 8 / 255, 2 / 255
    assert settled("--attack_mode pgd") == (AttackSettings("pgd", eps, step, 7), AttackSettings("pgd", eps, step, 20))
    assert settled("--attack_mode nfgsm --eps 0.1 --eval_steps 5") == (
        AttackSettings("nfgsm", 0.1, 0.1, 1),
        AttackSettings("pgd", 0.1, step, 5),
    )
    assert settled("--attack_mode pgd_l2 --step_size 0.2") == (
        AttackSettings("pgd_l2", 0.5, 0.2, 7),
        AttackSettings("pgd_l2", 0.5, 0.2, 20),
    )
    args = parse(script, STAGES[script])
    assert (args.eps, args.step_size) == (eps, step)  # as results and checkpoints have always recorded them


def test_evaluations_settle_every_attack():
    def settled(options: str) -> list[AttackSettings]:
        return evaluation_attacks(parse("validate_common_corruptions", f"--path x {options}"))

    assert settled("--attack_mode none") == []
    assert settled("--attack_mode autoattack --restarts 3 --step_size 0.5") == [
        AttackSettings("fgsm", 8 / 255, 8 / 255, 1),
        AttackSettings("pgd", 8 / 255, 0.5, 20, 3),
        AttackSettings("autoattack", 8 / 255, 0, 0),
    ]
    (found,) = settled("--attack_mode pgd_l2 --eps 3")
    assert found == AttackSettings("pgd_l2", 3, 0.1, 20)
    assert found.values() == {"name": "pgd_l2", "eps": 3, "step_size": 0.1, "steps": 20, "restarts": 1}
    assert found.record() == found.values() | {"title": "PGD (L2)", "norm": "L2"}


@pytest.mark.parametrize("options", ["--eps 8", "--attack_mode pgd_l2 --eps -1", "--eps 1e999", "--step_size 2"])
def test_a_length_out_of_range_is_refused(options: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        parse("train_teacher", options)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert options.split()[-2] in line
