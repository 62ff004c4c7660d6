"""Wide residual networks (Zagoruyko & Komodakis, BMVC 2016) with pre-activation blocks and without dropout.

wrn_d_k has three stages of (d - 4) / 6 blocks with 16k, 32k and 64k channels. Its ReLU layers are two a block and the
one before the pooling: wrn_22_8 has 19, 1,392,640 ReLUs at 32 pixels. The stem is that of the ResNets; as it ends in no
ReLU, the first ReLU layer is the first block's, on the stem's 16 channels.
"""

from __future__ import annotations

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


class WideBlock(nn.Module):
    """x (B, inputs, H, W) -> (B, outputs, H / stride, W / stride): twice BN, ReLU and conv, plus the shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int, branches: int):
        super().__init__()
        self.bn1 = BranchNorm2d(inputs, branches)
        self.relu1 = MaskedReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = BranchNorm2d(outputs, branches)
        self.relu2 = MaskedReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.projection: nn.Conv2d | None = None
        if stride != 1 or inputs != outputs:
            self.projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.relu1(self.bn1(x))
        out = self.conv2(self.relu2(self.bn2(self.conv1(activated))))
        # The projection reads what bn1 has normalised in the branch at hand, so it needs no normalisation of its own.
        return out + (x if self.projection is None else self.projection(activated))


class WideResNet(Network):
    """The stage features are sums that no BN or ReLU has seen yet: those open the next block, or the head."""

    def __init__(self, spec: ModelSpec, depth: int, factor: int):
        super().__init__(spec)
        blocks, rest = divmod(depth - 4, 6)
        if rest:
            raise ValueError(f"a wide ResNet has 6n + 4 layers, not {depth}")
        inputs = 16
        self.conv1 = stem_convolution(inputs, spec.image_size)
        self.pool = stem_pooling(spec.image_size)
        stages = []
        for outputs, stride in ((16 * factor, 1), (32 * factor, 2), (64 * factor, 2)):
            first = WideBlock(inputs, outputs, stride, spec.branches)
            others = [WideBlock(outputs, outputs, 1, spec.branches) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *others))
            inputs = outputs
        self.layer1, self.layer2, self.layer3 = stages
        self.bn = BranchNorm2d(inputs, spec.branches)
        self.relu = MaskedReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, spec.num_classes)
        init_convolutions(self)

    def stem(self, x: Tensor) -> Tensor:
        return self.pool(self.conv1(x))

    def stages(self) -> list[nn.Module]:
        return [self.layer1, self.layer2, self.layer3]

    def head(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(self.relu(self.bn(x))).flatten(1))


ARCHITECTURES = {
    f"wrn_{depth}_{factor}": partial(WideResNet, depth=depth, factor=factor)
    for depth, factor in ((16, 2), (40, 2), (22, 8), (28, 10))
}
