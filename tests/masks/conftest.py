"""A search that goes on where another one is."""

from __future__ import annotations

import copy

import pytest
import torch


@pytest.fixture
def resumed(network):
    """resumed(make_search, step) -> (search, its student) after a step on images, the same that took up its state, and
    the images (4, 3, 32, 32).
    """

    def make(make_search, step):
        student, other = network(seed=1).train(), network(seed=1).train()
        search, again = make_search(student), make_search(other)
        images = torch.rand(4, 3, 32, 32)
        step(search, student, images)
        again.load_state_dict(copy.deepcopy(search.state_dict()), is_main=False)
        other.load_state_dict(student.state_dict())
        return (search, student), (again, other), images

    return make
