"""VGG-11, -13, -16 and -19 (Simonyan & Zisserman, ICLR 2015) with batch normalisation and one linear classifier.

The classifier reads the 512 globally averaged features of the last stage. vgg16 has 13 ReLU layers, 294,912 ReLUs at 32
pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from models.layers import BranchNorm2d, MaskedReLU, ModelSpec, Network, init_convolutions

WIDTHS = (64, 128, 256, 512, 512)


def vgg_stage(inputs: int, width: int, depth: int, branches: int, *, pool: bool) -> nn.Sequential:
    """x (B, inputs, H, W) -> (B, width, H, W), or half that resolution with the 2x2 pooling in front."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(pool=nn.MaxPool2d(2)) if pool else OrderedDict()
    for number in range(1, depth + 1):
        layers[f"conv{number}"] = nn.Conv2d(inputs, width, 3, padding=1, bias=False)
        layers[f"bn{number}"] = BranchNorm2d(width, branches)
        layers[f"relu{number}"] = MaskedReLU()
        inputs = width
    return nn.Sequential(layers)


class VGG(Network):
    """Five stages of `depths` convolutions. A stage's feature is taken before the pooling that opens the next stage."""

    def __init__(self, spec: ModelSpec, depths: Sequence[int]):
        super().__init__(spec)
        # At 32 pixels the last stage stays at 4x4: the published ReLU counts are those of this layout.
        pooled = (False, True, True, True, spec.image_size >= 64)
        self.stage_names = []
        inputs = 3
        for number, (depth, width, pool) in enumerate(zip(depths, WIDTHS, pooled, strict=True), start=1):
            self.stage_names.append(f"stage{number}")
            self.add_module(self.stage_names[-1], vgg_stage(inputs, width, depth, spec.branches, pool=pool))
            inputs = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inputs, spec.num_classes)
        init_convolutions(self)

    def stem(self, x: Tensor) -> Tensor:
        return x

    def stages(self) -> list[nn.Module]:
        return [getattr(self, name) for name in self.stage_names]

    def head(self, x: Tensor) -> Tensor:
        return self.fc(self.avgpool(x).flatten(1))


ARCHITECTURES = {
    "vgg11": partial(VGG, depths=(1, 1, 2, 2, 2)),
    "vgg13": partial(VGG, depths=(2, 2, 2, 2, 2)),
    "vgg16": partial(VGG, depths=(2, 2, 3, 3, 3)),
    "vgg19": partial(VGG, depths=(2, 2, 4, 4, 4)),
}
