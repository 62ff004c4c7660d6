"""A plan is made once, of options that stay as they are; nothing in it is open, and nothing contradicts the rest."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.plans import ROBUST, STUDENT, TEACHER, save_network
from support.runs import ALONE, plan_of

import train_teacher
from formats.checkpoint import StudentBudget
from helper.errors import UserError
from helper.processes import Processes
from models.branches import branches_of
from training import settle as settling
from training.settle import settle


def test_no_part_of_a_plan_changes_and_options_stay_as_they_were_given():
    args = train_teacher.parse_args(TEACHER.split()[1:])
    given = dict(vars(args))
    plan = settle(args, ALONE, stage=0)
    assert vars(args) == given
    for part in (plan, plan.images, plan.optimisation, plan.acceleration, plan.run, plan.objective, plan.data):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, None)
    with pytest.raises(TypeError):
        plan.record["seed"] = 1


def test_settling_draws_nothing(stage1):
    before = torch.get_rng_state()
    plan_of(f"{stage1} {ROBUST} --batch_size 4".replace("--amp none", "--amp auto"))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_record_has_every_option_and_nothing_open(stage1):
    """The names and values are those of runs before there were plans, so that those can go on."""
    plan = plan_of(f"{stage1} {ROBUST} --epochs 40")
    decided = {"dataset": "digits", "robust_train_mode": "pgd", "data_on": "workers", "compile": "none"}
    decided |= {"lr_decay_epochs": [25.0, 30.0, 35.0], "mask_freeze_epochs": 4, "amp": "none", "epochs": 40}
    given = {"device": "cpu", "relu_budget": 9000, "sensitivity": None, "resume": None, "use2BN": True, "sync_bn": True}
    given |= {"eps": 8 / 255, "distill": "kd", "beta": 1000.0, "preset": "full", "select_attack_images": None}
    assert (decided | given).items() <= plan.record.items()
    assert isinstance(plan.record["path_t"], str)
    assert set(plan.record) == set(vars(parse(f"{stage1} {ROBUST}")))


def parse(command: str):
    import train_student_stage1_multigpu

    return train_student_stage1_multigpu.parse_args(command.split()[1:])


@pytest.mark.parametrize(
    ("options", "mode", "views"),
    [
        ("", "none", ("clean",)),
        ("--augment_mode augmix", "none", ("clean", "aug")),
        ("--attack_mode fgsm", "pgd", ("clean", "adv")),
        ("--attack_mode pgd --robust_train_mode trades", "trades", ("clean", "adv")),
    ],
)
def test_the_default_mode_follows_the_attack(options, mode, views):
    plan = plan_of(f"{TEACHER} {options}")
    assert (plan.record["robust_train_mode"], plan.objective.views) == (mode, views)
    assert (plan.attack is None) == (plan.judged_under is None) == ("adv" not in views)
    if plan.attack:
        assert (plan.judged_under.name, plan.judged_under.steps) == ("pgd", 20)


def test_decays_follow_the_epochs_unless_they_are_given():
    assert plan_of(TEACHER).optimisation.lr_decay_epochs == (150, 180, 210)
    assert plan_of(f"{TEACHER} --preset fast").optimisation.lr_decay_epochs == (18.75, 22.5, 26.25)
    assert plan_of(f"{TEACHER} --lr_decay_epochs 3,4").optimisation.lr_decay_epochs == (3, 4)
    assert plan_of(f"{TEACHER} --lr_decay_epochs=").optimisation.lr_decay_epochs == ()


def test_the_mask_rests_for_a_tenth_of_the_epochs(stage1, capsys):
    for epochs, rest in ((150, 15), (44, 4), (2, 1)):
        assert plan_of(f"{stage1} --use2BN --attack_mode pgd --epochs {epochs}").search.freeze_epochs == rest
    capsys.readouterr()
    assert plan_of(f"{stage1} --use2BN --attack_mode pgd --epochs 1").search.course.epochs == 0
    assert "of 1 epoch none is left to search in" in capsys.readouterr().out


def test_a_student_s_data_and_budget_come_from_where_it_does(stage1, stage2):
    first, second = plan_of(f"{stage1} {ROBUST}"), plan_of(f"{stage2} {ROBUST}")
    assert first.data.name == second.data.name == "digits"
    assert sum(first.distillation.budget.layers) == 9000
    assert first.identity["budget"].label == "relu9k"
    assert second.identity["budget"] == StudentBudget(label="relu1k", layers=(100,) * 7)
    assert (first.distillation.tag, second.distillation.tag) == ("pgd", "rslad+ce")
    assert second.run.folder.name.startswith("Customresnet8_relu1k_digits_")
    long = plan_of(f"{stage2} {ROBUST} --long_names").run.folder.name
    assert long == "S:Customresnet8_T1:resnet8_stage1:rslad+ce_digits_relu1k_augmix_pgd_kdT4.0_2BN_batch128"


def test_a_run_goes_on_under_the_long_name_that_it_has(stage1, tmp_path):
    command = f"{stage1} {ROBUST} --save_dir {tmp_path}"
    short, long = (plan_of(f"{command}{more}").run.folder for more in ("", " --long_names"))
    assert len(short.name) <= 40 < len(long.name)
    long.mkdir(parents=True)
    assert plan_of(f"{command} --resume auto").run.folder == long


def test_a_cpu_decides_its_precision_once_by_a_clock(monkeypatch):
    asked = []

    def timed(network, batch_size, processes, *, channels_last):
        asked.append((network.spec.branches, batch_size, channels_last))
        return "bf16"

    monkeypatch.setattr(settling, "timed_precision", timed)
    command = f"{TEACHER} --use2BN --attack_mode pgd --batch_size 64"
    for amp in ("none", "bf16"):
        assert plan_of(command.replace("--amp none", f"--amp {amp}")).record["amp"] == amp
    assert not asked
    plan = plan_of(command.replace("--amp none", "--amp auto"))
    assert plan.record["amp"] == plan.acceleration.amp == "bf16"
    assert asked == [(2, 64, True)]


def test_where_a_gpu_computes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    plan = plan_of(TEACHER.replace("--amp none", ""), Processes(0, 1, torch.device("cuda")))
    assert [plan.record[name] for name in ("amp", "compile", "data_on", "device")] == [
        "bf16",
        "none",
        "device",
        "cpu",
    ]
    assert (plan.images.data_on, plan.acceleration.graphs) == ("device", False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--model Customresnet8", "Customresnet8 is a student; its teacher is resnet8"),
        ("--model resnet9", "unknown model 'resnet9'"),
        ("--use2BN", "--use2BN keeps a branch for adversarial images"),
        ("--use3BN --augment_mode augmix", "--use3BN keeps a branch"),
        ("--robust_train_mode trades", "'trades' needs the adv view"),
        ("--robust_train_mode none --attack_mode pgd", "'none' trains without adversarial images"),
        ("--batch_size 1 --use2BN --attack_mode pgd", "leaves a view without images"),
        ("--batch_size 2 --use3BN --attack_mode pgd --augment_mode augmix", "leaves a view without images"),
        ("--learning_rate 0", "--learning_rate 0.0 is not above 0"),
        ("--compile graphs", "--compile graphs needs a GPU"),
        ("--data_on device --dataset imagenet", "imagenet is too large"),
        ("--resume missing.pth", "missing.pth: no such checkpoint file"),
    ],
)
def test_a_teacher_s_contradictions_end_before_any_work(options, words, tmp_path):
    with pytest.raises(UserError, match=words):
        plan_of(f"{TEACHER} --save_dir {tmp_path} {options}")
    assert not list(tmp_path.iterdir())


def test_an_uneven_batch_is_refused():
    with pytest.raises(UserError, match="--batch_size 9 cannot be shared evenly by 2 processes"):
        plan_of(f"{TEACHER} --batch_size 9", Processes(0, 2, ALONE.device))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--model_s resnet8", "resnet8 is no student"),
        (f"{ROBUST} --model_s Customresnet20", "--model_s resnet20 contradicts .*teacher.pth, which has resnet8"),
        ("--dataset cifar10", "--dataset cifar10 contradicts .*teacher.pth, which has digits"),
        ("--attack_mode none", "--use2BN keeps a branch for adversarial images"),
        (f"{ROBUST} --kd_T 0", "--kd_T 0.0 is not above 0"),
        (f"{ROBUST} --gamma 0 --alpha 0 --robust_train_mode rslad+ce", "leave no term in the loss"),
    ],
)
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_a_student_s_contradictions_end_before_any_work(stage, options, words, request):
    with pytest.raises(UserError, match=words):
        plan_of(f"{request.getfixturevalue(stage)} {options}")


def test_each_stage_has_contradictions_of_its_own(stage1, stage2, teacher):
    for command, words in (
        (f"{stage1} {ROBUST} --relu_budget 99999999", "this network has 73728 ReLUs"),
        (f"{stage2} {ROBUST} --path_s_load {teacher}", "is of stage 0; a student comes from stage 1"),
        (f"{stage2} {ROBUST} --path_t {teacher.with_name('student.pth')}", "is of stage 1; a teacher comes from"),
        (f"{stage2} --attack_mode pgd --use3BN", "--use3BN 3 batch-norm branches contradicts .*student.pth"),
    ):
        with pytest.raises(UserError, match=words):
            plan_of(command)


def test_a_search_needs_its_view(network, tmp_path):
    path = save_network(tmp_path / "plain.pth", network())
    command = f"train_student_stage1_multigpu.py --path_t {path} {STUDENT} --relu_budget 9"
    with pytest.raises(UserError, match="--mask_calculation feat_diff_adv needs the adv view"):
        plan_of(f"{command} --mask_calculation feat_diff_adv")
    plan = plan_of(f"{command} --mask_calculation feat_diff_adv --attack_mode pgd")
    assert dict(plan.search.own)["view"] == "adv"


def test_a_teacher_is_not_asked_through_a_branch_that_it_never_trained(network, tmp_path):
    path = save_network(tmp_path / "teacher.pth", network(branches=3), trained_branches=[0, 2])
    command = (
        f"train_student_stage1_multigpu.py --path_t {path} {STUDENT} --relu_budget 9 --use3BN "
        "--attack_mode pgd --augment_mode augmix --distill attention"
    )
    for mode in ("kl", "rslad+augattn"):
        with pytest.raises(UserError, match=r"about the aug view.*never trained its branch 1"):
            plan_of(f"{command} --robust_train_mode {mode}")
    # RSLAD's targets are all clean logits, of branch 0.
    assert branches_of(plan_of(f"{command} --robust_train_mode rslad+advattn").objective.views, 3) == [0, 1, 2]
