"""What is not said of stages 1 and 2, and of an evaluation, is as the checkpoint was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.plans import ROBUST, TEACHER, save_network
from support.running import run
from support.runs import plan_of

import interpolate_branches
import validate_common_corruptions
from helper.errors import UserError
from models import build_model
from models.branches import begin_with

SEARCH = "train_student_stage1_multigpu.py --relu_budget 9000 --device cpu --amp none"
PLAIN = {"num_classes": 10, "image_size": 32}


def trained(path: Path, network, options: str, branches: int, **about: object) -> Path:
    """A checkpoint of a run with these options."""
    record = plan_of(f"{TEACHER} {options}").record
    return save_network(path, network(branches=branches), args=dict(record), **about)


@pytest.fixture
def robust(network, tmp_path) -> Path:
    return trained(tmp_path / "teacher.pth", network, f"{ROBUST} --eps 4/255 --steps 3", 2)


def test_stage_1_trains_as_its_teacher_did(robust):
    spoken = f"{ROBUST} --eps 4/255 --steps 3 --model_s Customresnet8 --dataset digits"
    assert plan_of(f"{SEARCH} --path_t {robust}") == plan_of(f"{SEARCH} --path_t {robust} {spoken}")


def test_options_that_are_given_win_over_the_teacher_s(robust):
    plan = plan_of(f"{SEARCH} --path_t {robust} --augment_mode none --eps 2/255 --use3BN")
    assert (plan.objective.views, plan.network.branches) == (("clean", "adv"), 3)
    assert (plan.attack.eps, plan.attack.steps) == (2 / 255, 3)
    named = plan_of(f"{SEARCH} --path_t {robust} --attack_mode pgd").attack
    assert (named.eps, named.steps) == (8 / 255, 7)  # an attack that is named is the customary one


def test_stage_2_trains_as_stage_1_did(robust, network, tmp_path):
    about = {"stage": 1, "budget": {"label": "relu1k", "layers": [100] * 7}, "tag": "pgd"}
    student = trained(tmp_path / "student.pth", network, "--attack_mode fgsm --use2BN", 2, **about)
    plan = plan_of(
        f"train_student_stage2_multigpu.py --path_t {robust} --path_s_load {student} --dense --device cpu --amp none"
    )
    assert (plan.model, plan.attack.name, plan.objective.views) == ("Customresnet8", "fgsm", ("clean", "adv"))


def test_a_file_that_does_not_say_its_network_needs_it_named(tmp_path):
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "bare.pth")
    with pytest.raises(UserError, match=r"bare\.pth does not say which network it is of; add --model_s"):
        plan_of(f"{SEARCH} --path_t {tmp_path}/bare.pth --dataset digits")


def test_a_teacher_of_one_branch_teaches_a_student_of_two(network, tmp_path, capsys):
    plain = trained(tmp_path / "plain.pth", network, "", 1)
    plan = plan_of(f"{SEARCH} --path_t {plain} {ROBUST} --robust_train_mode kl")
    assert (plan.network.branches, plan.distillation.teacher_branches) == (2, 1)
    assert "its one branch answers for all views" in capsys.readouterr().out


def test_one_branch_is_asked_for(robust):
    assert plan_of(f"{SEARCH} --path_t {robust}").network.branches == 2
    assert plan_of(f"{SEARCH} --path_t {robust} --use1BN --robust_train_mode kl").network.branches == 1


@pytest.mark.slow
def test_a_teacher_of_two_branches_teaches_a_student_of_one(robust, network, tmp_path, capsys):
    about = {"stage": 2, "budget": {"label": "relu1k", "layers": [100] * 7}, "tag": "pgd"}
    student = trained(tmp_path / "student.pth", network, "--attack_mode fgsm", 1, **about)
    few = "--epochs 1 --limit_train_batches 2 --limit_val_batches 1 --steps 1 --eval_steps 1 --batch_size 16"
    command = f"train_student_stage2_multigpu.py --path_t {robust} --path_s_load {student} --robust_train_mode kl+advce"
    plan = plan_of(f"{command} --device cpu --amp none")
    assert (plan.network.branches, plan.distillation.teacher_branches) == (1, 2)
    assert "its 2 branches answer for all views" in capsys.readouterr().out
    run(f"{command} {few} --num_workers 0 --save_dir {tmp_path}")
    assert list(tmp_path.glob("student_model/stage2/*/Customresnet8_stage2_best_ATA0.0.pth"))


@pytest.mark.slow
def test_and_gives_it_its_weights(network, tmp_path):
    plain = trained(tmp_path / "plain.pth", network, "", 1)
    few = "--epochs 1 --limit_train_batches 2 --limit_val_batches 1 --steps 1 --eval_steps 1 --batch_size 16"
    command = f"{SEARCH} --path_t {plain} {ROBUST} --robust_train_mode kl+advattn --distill attention"
    run(f"{command} --init_student teacher {few} --num_workers 0 --save_dir {tmp_path}")
    assert list(tmp_path.glob("student_model/stage1/*/Customresnet8_best_ATA1.0.pth"))


def test_every_branch_of_a_student_begins_as_the_teacher_s_that_answers_for_it(network):
    teacher, student = network(branches=2), build_model("resnet8", branches=3, **PLAIN)
    begin_with(student, teacher)
    for branch, source in ((0, 0), (1, 0), (2, 1)):
        given, taken = teacher.bn1.branches[source].state_dict(), student.bn1.branches[branch].state_dict()
        assert all(torch.equal(given[name], taken[name]) for name in given)


@pytest.mark.parametrize(("script", "more"), [(validate_common_corruptions, "--path"), (interpolate_branches, "--t=1")])
def test_an_evaluation_attacks_as_training_was_judged(script, more, robust, tmp_path):
    def settled(*options: str) -> tuple[str, float]:
        args = script.parse_args([more, str(robust), *options])
        return args.attack_mode, args.eps

    assert settled() == ("pgd", 4 / 255)
    assert settled("--eps", "1/255") == ("pgd", 1 / 255)
    assert settled("--attack_mode", "fgsm") == ("fgsm", 8 / 255)
