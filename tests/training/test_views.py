"""Who takes which rows, and that every view is normalised by itself."""

from __future__ import annotations

import pytest
import torch

from evaluation.accuracy import evaluate
from helper.errors import UserError
from models.branches import branch_of, check_branches, plan_views
from models.layers import use_branch
from training.forward import forward_views


@pytest.mark.parametrize(
    ("branches", "views", "want"),
    [
        (1, ("clean", "aug", "adv"), {"clean": (0, 128, 0), "aug": (0, 128, 0), "adv": (0, 128, 0)}),
        (2, ("clean", "aug", "adv"), {"clean": (0, 64, 0), "aug": (0, 64, 0), "adv": (64, 128, 1)}),
        (2, ("clean", "adv"), {"clean": (0, 64, 0), "adv": (64, 128, 1)}),
        (3, ("clean", "aug", "adv"), {"clean": (0, 42, 0), "aug": (42, 84, 1), "adv": (84, 128, 2)}),
        (3, ("clean", "adv"), {"clean": (0, 64, 0), "adv": (64, 128, 2)}),
    ],
)
def test_who_takes_which_part_of_the_batch(branches, views, want):
    plan = plan_views(views, branches, 128)
    assert {name: (view.rows.start, view.rows.stop, view.branch) for name, view in plan.items()} == want
    assert list(plan) == list(views)


def test_the_predicting_branch_is_the_lambda_of_the_names():
    assert [branch_of("adv", branches) for branches in (1, 2, 3)] == [0, 1, 2]


def test_branches_without_an_attack_are_refused():
    check_branches(1, ("clean",))
    with pytest.raises(UserError, match=r"--use2BN .* --attack_mode pgd"):
        check_branches(2, ("clean", "aug"))


def test_one_forward_normalises_every_view_by_itself(network, batch):
    together, apart = network(branches=2).train(), network(branches=2).train()
    inputs = [(batch["clean"], 0), (batch["aug"], 0), (batch["clean"][3:], 1)]
    outputs = forward_views(together.forward_features, together, inputs)
    for output, (images, branch) in zip(outputs, inputs, strict=True):
        with use_branch(apart, branch):
            logits, features = apart.forward_features(images)
        torch.testing.assert_close(output.logits, logits, rtol=1e-4, atol=1e-5)
        for got, want in zip(output.features, features, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    for name, value in together.state_dict().items():
        torch.testing.assert_close(value, apart.state_dict()[name], rtol=1e-4, atol=1e-5)


def test_evaluation_counts_every_branch(network, batch, make_task):
    from attacks.attack import AttackSettings
    from helper.processes import Processes

    model = network(branches=2).train()
    attack = AttackSettings("pgd", 8 / 255, 2 / 255, 3)
    found = evaluate(
        model,
        [batch],
        Processes(0, 1, torch.device("cpu")),
        clean_branches=[0, 1],
        attack_branches=[0, 1],
        attack=attack,
    )
    assert model.training
    assert found["images"] == 6
    for branch in (0, 1):
        with use_branch(model.eval(), branch):
            right = (model(batch["clean"]).argmax(1) == batch["label"]).sum()
        assert found["CA"][str(branch)] == pytest.approx(100 * int(right) / 6)
        assert found["AdvA"][str(branch)] <= found["CA"][str(branch)]
