"""SNL's soft gates: their formula and gradients, what they leave in the student, and how the penalty grows."""

from __future__ import annotations

import pytest
import torch

from masks.counting import relu_totals
from masks.search import Course, SearchStep
from masks.selection import MaskChooser
from masks.snl import GROWTH, SNLSearch, soft_relu
from models.layers import relu_sites


def make_search(student, *, granularity="position", parent=None, epochs=20, mu=1e-5) -> SNLSearch:
    chooser = MaskChooser([7] * len(relu_sites(student)), granularity, shared=True, parent=parent)
    return SNLSearch(student, chooser, Course(epochs), mu=mu, rate=1e-3)


@pytest.mark.parametrize("shape", [(3, 4, 4), (3, 1, 1), (1, 1, 1)])
def test_a_gate_is_its_formula(shape):
    x, alpha = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.rand(shape, dtype=torch.float64)
    ours, plain = ([value.clone().requires_grad_() for value in (x, alpha)] for _ in range(2))
    got = soft_relu(ours[1], ours[0], training=True)
    want = plain[1] * plain[0].relu() + (1 - plain[1]) * plain[0]
    torch.testing.assert_close(got, want)
    for output in (got, want):
        output.square().sum().backward()
    for mine, theirs in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    assert not soft_relu(ours[1], x, training=False).requires_grad


def step(search: SNLSearch, student, x: torch.Tensor) -> None:
    with search.watching(SearchStep({"clean": slice(0, len(x))})):
        loss = student(x).square().mean() + search.penalty()
    loss.backward()
    search.after_backward()


@pytest.mark.parametrize("granularity", ["position", "channel"])
def test_it_trains_gates_and_leaves_masks_alone_behind(granularity, network):
    student = network().train()
    before = set(student.state_dict())
    search = make_search(student, granularity=granularity, epochs=1)
    x = torch.rand(4, 3, 32, 32)
    for _ in range(2):
        step(search, student, x)
    assert set(student.state_dict()) == before
    assert all((alpha != 1).any() for alpha in search.scores().values())
    moved = search.end_epoch()
    assert moved.settled
    search.harden()
    assert all(site.gate is None for site in relu_sites(student).values())
    kept, _ = relu_totals(student)
    assert abs(kept - search.chooser.total) <= (0 if granularity == "position" else 32)
    scores = torch.cat([score.expand(s.map_shape).flatten() for score, s in zip_sites(search, student)])
    masks = torch.cat([site.mask.expand(site.map_shape).flatten() for site in relu_sites(student).values()])
    if granularity == "position":
        assert scores[masks].min() >= scores[~masks].max()


def zip_sites(search, student):
    return zip(search.scores().values(), relu_sites(student).values(), strict=True)


def test_the_penalty_grows_where_no_relu_was_let_go(network):
    search = make_search(network(), mu=0.5)
    with torch.no_grad():
        for epoch in range(1, 8):
            search.end_epoch()
            assert float(search.mu) == pytest.approx(0.5 * GROWTH ** max(0, epoch - 4))
        next(iter(search.alphas.values())).zero_()
        before = float(search.mu)
        assert not search.end_epoch().settled
        assert float(search.mu) == before
        for alpha in search.alphas.values():
            alpha.zero_()
        assert search.end_epoch().settled


def test_its_state_survives(resumed):
    (search, student), (again, other), x = resumed(make_search, step)
    step(search, student, x)
    step(again, other, x)
    assert all(torch.equal(alpha, again.scores()[name]) for name, alpha in search.scores().items())
    assert again.fewest == search.fewest


def test_beside_a_larger_mask_there_are_no_relus(network):
    student = network()
    parent = {name: torch.rand(site.map_shape) < 0.5 for name, site in relu_sites(student).items()}
    make_search(student, parent=parent)
    name, site = next(iter(relu_sites(student).items()))
    x = torch.randn(2, *site.map_shape)
    assert torch.equal(site(x), torch.where(parent[name], x.relu(), x))
