"""MobileNetV2 (Sandler et al., CVPR 2018), width multiplier 1.

The activation is MaskedReLU where the paper has ReLU6: a mask chooses between ReLU and the identity, and a cap at 6
would be neither, besides costing private inference a second comparison. There are 35 ReLU layers: the stem, two a block
(one in the first), the last 1x1 convolution. The linear bottlenecks, where the paper has no ReLU, have none here.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from models.layers import BranchNorm2d, MaskedReLU, ModelSpec, Network, init_convolutions

# Table 2 of the paper as (t, c, n, s): expansion, output channels, blocks, first block's stride. A line is a stage
# here: it ends with the last map of its resolution.
STAGES = (
    ((1, 16, 1, 1), (6, 24, 2, 2)),
    ((6, 32, 3, 2),),
    ((6, 64, 4, 2), (6, 96, 3, 1)),
    ((6, 160, 3, 2), (6, 320, 1, 1)),
)


def convolution(
    inputs: int, outputs: int, kernel: int, branches: int, *, stride: int = 1, groups: int = 1, linear: bool = False
) -> nn.Sequential:
    """Convolution that keeps the resolution but for its stride, normalisation and, unless `linear`, a ReLU."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        bn=BranchNorm2d(outputs, branches),
    )
    if not linear:
        layers["relu"] = MaskedReLU()
    return nn.Sequential(layers)


class InvertedResidual(nn.Module):
    """x (B, inputs, H, W) -> (B, outputs, H / stride, W / stride) by way of inputs * expansion channels."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, branches: int):
        super().__init__()
        width = inputs * expansion
        self.expand = convolution(inputs, width, 1, branches) if expansion > 1 else nn.Identity()
        self.depthwise = convolution(width, width, 3, branches, stride=stride, groups=width)
        self.project = convolution(width, outputs, 1, branches, linear=True)
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return x + out if self.is_residual else out


class MobileNetV2(Network):
    """Four stages, at 1/4 to 1/32 of 224 pixels. Smaller images skip strides, so that the last maps are 4x4.

    64 pixels drop the stride of the 24-channel blocks, 32 pixels that of the stem as well.
    """

    def __init__(self, spec: ModelSpec):
        super().__init__(spec)
        self.conv1 = convolution(3, 32, 3, spec.branches, stride=2 if spec.image_size >= 64 else 1)
        inputs = 32
        stages = []
        for groups in STAGES:
            blocks = []
            for expansion, outputs, depth, first_stride in groups:
                for position in range(depth):
                    stride = first_stride if position == 0 else 1
                    if outputs == 24 and spec.image_size < 128:
                        stride = 1
                    blocks.append(InvertedResidual(inputs, outputs, stride, expansion, spec.branches))
                    inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.conv2 = convolution(inputs, 1280, 1, spec.branches)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1280, spec.num_classes)
        init_convolutions(self)

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)

    def stages(self) -> list[nn.Module]:
        return [self.layer1, self.layer2, self.layer3, self.layer4]

    def head(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.conv2(x)).flatten(1))


ARCHITECTURES = {"MobileNetV2": MobileNetV2}
