"""ResNet-18, -34 and -50 (He et al., CVPR 2016), with module names as torchvision has them.

Images from 128 pixels on get the 7x7 stem with pooling, smaller ones a 3x3 stem without. ResNet18 has 17 ReLU layers:
557,056 ReLUs at 32 pixels, 2,308,096 at 224.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from models.layers import (
    BranchNorm2d,
    MaskedReLU,
    ModelSpec,
    Network,
    init_convolutions,
    stem_convolution,
    stem_pooling,
)


def shortcut(inputs: int, outputs: int, stride: int, branches: int) -> nn.Module:
    """The identity where shapes allow, else a 1x1 convolution that is normalised per branch."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), BranchNorm2d(outputs, branches))


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, branches: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = BranchNorm2d(width, branches)
        self.relu1 = MaskedReLU()
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = BranchNorm2d(width, branches)
        self.downsample = shortcut(inputs, width, stride, branches)
        self.relu2 = MaskedReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(out)) + self.downsample(x))


class Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, branches: int):
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = BranchNorm2d(width, branches)
        self.relu1 = MaskedReLU()
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = BranchNorm2d(width, branches)
        self.relu2 = MaskedReLU()
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = BranchNorm2d(outputs, branches)
        self.downsample = shortcut(inputs, outputs, stride, branches)
        self.relu3 = MaskedReLU()

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        return self.relu3(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet(Network):
    """`widths` and `depths` are per stage; every stage after the first halves the resolution."""

    def __init__(
        self,
        spec: ModelSpec,
        block: type[BasicBlock] | type[Bottleneck],
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
    ):
        super().__init__(spec)
        self.conv1 = stem_convolution(widths[0], spec.image_size)
        self.bn1 = BranchNorm2d(widths[0], spec.branches)
        self.relu = MaskedReLU()
        self.pool = stem_pooling(spec.image_size)
        self.stage_names = []
        inputs = widths[0]
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(inputs, width, stride, spec.branches))
                inputs = width * block.expansion
            self.stage_names.append(f"layer{index + 1}")
            self.add_module(self.stage_names[-1], nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, spec.num_classes)
        init_convolutions(self)

    def stem(self, x: Tensor) -> Tensor:
        return self.pool(self.relu(self.bn1(self.conv1(x))))

    def stages(self) -> list[nn.Module]:
        return [getattr(self, name) for name in self.stage_names]

    def head(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(x).flatten(1))


def cifar_resnet(spec: ModelSpec, depth: int) -> ResNet:
    """The small CIFAR ResNets of He et al., section 4.2: 3 stages of (depth - 2) / 6 blocks, 16 to 64 channels."""
    return ResNet(spec, BasicBlock, [(depth - 2) // 6] * 3, widths=(16, 32, 64))


ARCHITECTURES = {
    "ResNet18": partial(ResNet, block=BasicBlock, depths=(2, 2, 2, 2)),
    "ResNet34": partial(ResNet, block=BasicBlock, depths=(3, 4, 6, 3)),
    "ResNet50": partial(ResNet, block=Bottleneck, depths=(3, 4, 6, 3)),
    **{f"resnet{depth}": partial(cifar_resnet, depth=depth) for depth in (8, 20, 32, 56)},
}
