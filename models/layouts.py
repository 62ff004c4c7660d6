"""How other people's code lays out state dicts of our networks: the names of their keys, and what else differs.

The layers are the same; a BranchNorm2d of ours holds its parameters under `branches.0`, and our ReLUs hold masks. To
add a layout, add a row to LAYOUTS.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """`marks`: keys that tell it from the others; `lacks`: such that it never has.

    `names`: (pattern, replacement) of regular expressions, which make their name of a module of ours. `unused`: a
    pattern of the keys that their forward pass never reads. `normalised_by_data_set`: a file without a normalisation
    takes images as the data set's mean and standard deviation make them; else nobody knows. `refusal`: why none of our
    networks computes the same.
    """

    title: str
    marks: Collection[str]
    lacks: Collection[str] = ()
    names: tuple[tuple[str, str], ...] = ()
    unused: str | None = None
    normalised_by_data_set: bool = False
    refusal: str | None = None

    def recognises(self, keys: Collection[str]) -> bool:
        return all(key in keys for key in self.marks) and not any(key in keys for key in self.lacks)

    def key(self, own: str) -> str:
        """Their key of what is `own` in the state dict of our network."""
        theirs = own.replace(".branches.0.", ".")
        for pattern, replacement in self.names:
            theirs = re.sub(pattern, replacement, theirs)
        return theirs

    def reads(self, key: str) -> bool:
        return self.unused is None or not re.match(self.unused, key)


LAYOUTS = (
    Layout(
        "torchvision",
        marks=("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "fc.weight"),
        normalised_by_data_set=True,
    ),
    # As in many repositories for CIFAR, and in RobustBench's zoo.
    Layout(
        "CIFAR ResNet",
        marks=("conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "linear.weight"),
        names=((r"\.downsample\.", ".shortcut."), (r"^fc\.", "linear.")),
    ),
    # As in TRADES and in RobustBench's zoo; sub_block1 is there to load older files, and no image passes through it.
    Layout(
        "CIFAR WideResNet",
        marks=("conv1.weight", "block1.layer.0.bn1.running_mean", "bn1.running_mean", "fc.weight"),
        names=((r"^layer(\d)\.", r"block\1.layer."), (r"\.projection\.", ".convShortcut."), (r"^bn\.", "bn1.")),
        unused=r"sub_block1\.",
    ),
    Layout(
        "pre-activation CIFAR ResNet",
        marks=("conv1.weight", "layer1.0.bn1.running_mean", "linear.weight"),
        lacks=("bn1.running_mean",),
        refusal="its blocks normalise before they convolve, which no ResNet here does",
    ),
)
