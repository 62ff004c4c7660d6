"""A network of two convolutions: enough to be trained, masked and measured."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from models.layers import BranchNorm2d, MaskedReLU, ModelSpec, Network


class Tiny(Network):
    def __init__(self, spec: ModelSpec):
        super().__init__(spec)
        self.first, self.second = (
            nn.Sequential(
                OrderedDict(
                    conv=nn.Conv2d(inputs, 4, 3, stride=2, padding=1, bias=False),
                    norm=BranchNorm2d(4, spec.branches),
                    relu=MaskedReLU(),
                )
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


ARCHITECTURES = {"tiny": Tiny}
