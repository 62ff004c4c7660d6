"""The Taylor scores are their formula; masks fall by the schedule, also in the middle of an epoch."""

from __future__ import annotations

import torch

from masks.counting import relu_totals
from masks.search import Course, SearchStep
from masks.selection import MaskChooser
from masks.taylor import CURVATURE_DECAY, DECAY, TaylorSearch
from masks.watching import site_maps
from models.layers import relu_sites


def make_search(student, *, epochs=10, every=2) -> TaylorSearch:
    chooser = MaskChooser([9] * len(relu_sites(student)), shared=True)
    return TaylorSearch(student, chooser, Course(epochs, schedule="cosine"), every=every)


def step(search: TaylorSearch, student, x: torch.Tensor) -> bool:
    with search.watching(SearchStep({"clean": slice(0, len(x))})):
        loss = student(x).square().sum(1).mean()
    loss.backward()
    search.after_backward()
    return search.after_step()


def test_scores_are_their_formula(network):
    student = network().eval()
    search = make_search(student)
    x = torch.rand(4, 3, 32, 32)
    step(search, student, x)
    gradients = {}
    sites = relu_sites(student)
    handles = [
        site.register_forward_hook(
            lambda site, inputs, out, name=name: out.register_hook(lambda g: gradients.__setitem__(name, g)) and None
        )
        for name, site in sites.items()
    ]
    with site_maps(student, before_relu=True) as maps:
        student(x).square().sum(1).sum().backward()  # the gradients of each image's own loss
    for handle in handles:
        handle.remove()
    curvature = {name: (1 - CURVATURE_DECAY) * g.square().mean(0) for name, g in gradients.items()}
    weights = torch.stack(
        [
            (1 - DECAY)
            * gradients[name].flatten(1).norm(dim=1).mean()
            * (curvature[name].mean() + 1e-8).sqrt()
            * (1 + 0.2 * layer / (len(sites) - 1))
            for layer, name in enumerate(sites)
        ]
    )
    weights = (weights - weights.min()) / (weights.max() - weights.min()) + 0.1
    for (name, score), weight in zip(search.scores().items(), weights, strict=True):
        m, g = maps[name], gradients[name]
        first = (1 - DECAY) ** 2 * (g * m).abs().mean(0) * (m < 0).float().mean(0)
        second = (1 - DECAY) * m.square().mean(0) * curvature[name] / 2
        torch.testing.assert_close(score, weight * (first + second), rtol=1e-3, atol=1e-10)


def test_masks_fall_within_epochs_and_end_at_the_budget(network):
    student = network().train()
    search = make_search(student, epochs=2)
    x = torch.rand(4, 3, 32, 32)
    kept = []
    for _ in range(2):
        changed = []
        for _ in range(4):
            changed.append(step(search, student, x))
            kept.append(relu_totals(student)[0])
        moved = search.end_epoch()
        kept.append(relu_totals(student)[0])
    assert changed == [False, True, False, True]
    assert kept == sorted(kept, reverse=True)
    assert len(set(kept)) > 2
    assert kept[-1] == search.chooser.total
    assert moved.settled


def test_its_state_survives(resumed):
    *both, x = resumed(make_search, step)
    for each, student in both:
        student.zero_grad()
        step(each, student, x)
        each.end_epoch()
    (search, _), (again, _) = both
    scores = again.scores()
    assert all(torch.equal(score, scores[name]) for name, score in search.scores().items())
    assert again.steps_per_epoch == search.steps_per_epoch == 2
