"""Networks of somebody's own, as `--model tests/models/own_networks.py:function` takes them; some cannot be masked."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import BranchNorm2d, MaskedReLU, ModelSpec, Network
from rlnet import mask_relus


class Ours(Network):
    """Two stages of our layers."""

    def __init__(self, spec: ModelSpec):
        super().__init__(spec)
        self.first, self.second = (
            nn.Sequential(
                nn.Conv2d(inputs, 4, 3, stride=2, padding=1, bias=False), BranchNorm2d(4, spec.branches), MaskedReLU()
            )
            for inputs in (3, 4)
        )
        self.fc = nn.Linear(4, spec.num_classes)

    def stem(self, x: Tensor) -> Tensor:
        return x

    def stages(self) -> list[nn.Module]:
        return [self.first, self.second]

    def head(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


class Plain(nn.Module):
    """Torch's layers alone, with a shortcut."""

    def __init__(self, classes: int):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.block = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.down(x + self.block(x)))


class Functional(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.down(self.stem(x))))


class Twice(Plain):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.down(self.block(self.block(self.stem(x)))))


class Unordered(Plain):
    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(self.down(x)) + self.block(x).sum()


class Shared(Plain):
    def __init__(self, classes: int):
        super().__init__(classes)
        self.down[2] = self.block[2]


def ours(spec: ModelSpec) -> nn.Module:
    return Ours(spec)


def plain(spec: ModelSpec) -> nn.Module:
    return mask_relus(Plain(spec.num_classes))


def unmasked(spec: ModelSpec) -> nn.Module:
    return Plain(spec.num_classes)


def functional(spec: ModelSpec) -> nn.Module:
    return mask_relus(Functional(spec.num_classes))


def twice(spec: ModelSpec) -> nn.Module:
    return mask_relus(Twice(spec.num_classes))


def unordered(spec: ModelSpec) -> nn.Module:
    return mask_relus(Unordered(spec.num_classes))


def shared(spec: ModelSpec) -> nn.Module:
    return mask_relus(Shared(spec.num_classes))


def wrong_classes(spec: ModelSpec) -> nn.Module:
    return mask_relus(Plain(spec.num_classes + 1))


def failing(spec: ModelSpec) -> nn.Module:
    raise KeyError("width")


def no_module(spec: ModelSpec) -> int:
    return 3
