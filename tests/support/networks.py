"""Small networks, random where random shows a fault."""

from __future__ import annotations

import pytest
from torch import nn

from masks.feature_gap import FeatureGapSearch
from masks.search import Course
from masks.selection import MaskChooser
from models import ARCHITECTURES
from models.layers import relu_sites

# The least of every kind of block; in a quick run these stand for the deeper and the wider ones.
LEAST = ("ResNet18", "ResNet50", "resnet8", "wrn_16_2", "vgg11", "MobileNetV2")
EVERY_ARCHITECTURE = [pytest.param(name, marks=() if name in LEAST else pytest.mark.slow) for name in ARCHITECTURES]


def randomise_norms(model: nn.Module) -> None:
    """Statistics and affine parameters that no two norms or branches share, so that a wrong one shows."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.running_mean, -0.2, 0.2)
            nn.init.uniform_(norm.running_var, 0.5, 1.5)
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.2, 0.2)


def feature_gap(student: nn.Module, kept: int, **settings: object) -> FeatureGapSearch:
    """The default search, for `kept` ReLUs in every layer."""
    return FeatureGapSearch(student, MaskChooser([kept] * len(relu_sites(student))), Course(epochs=9), **settings)
