"""Sparse momentum (Dettmers and Zettlemoyer, "Sparse networks from scratch", 2019): few weights, which move.

Every convolution and linear layer keeps a share of its weights, the density; all others are 0. After an epoch each
layer loses some of its weights (prune), what all have lost is shared out anew (redistribution), and each layer grows
its share where it has none (growth). The network keeps as many weights as it began with, exactly.

PRUNE, REDISTRIBUTION and GROWTH are tables of small functions of a `Layer`: a new rule is a function and its line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from masks.allocation import in_proportion
from masks.selection import keep_largest
from models.weights import weights_of_layers

LEAST = 1e-9
NEVER, ALWAYS = -torch.inf, torch.inf  # scores of what is not to choose, and of what must be chosen


@dataclass(frozen=True)
class Sparsity:
    """--density and the rules by which weights move."""

    density: float
    growth: str
    prune: str
    redistribution: str
    prune_rate: float

    def rate(self, epoch: int, epochs: int) -> float:
        """The share that a layer loses after so many of the epochs: --prune_rate, falling to 0 along a cosine."""
        return self.prune_rate * (1 + math.cos(math.pi * epoch / epochs)) / 2


@dataclass(frozen=True)
class Layer:
    """The weights of a layer at the end of an epoch, all flat: (n,).

    `momentum`: of SGD; `gradient`: that of the last step, None where no rule asks for it. Both are of all weights, also
    of those that are not `kept`.
    """

    weight: Tensor
    kept: Tensor
    momentum: Tensor
    gradient: Tensor | None = None

    @property
    def count(self) -> int:
        return int(self.kept.sum())

    def left(self, rate: float) -> int:
        """How many stay where a share `rate` is lost: no layer loses its last."""
        return max(1, self.count - math.floor(rate * self.count))

    def of_kept(self, values: Tensor) -> Tensor:
        return values.where(self.kept, NEVER)


def prune_magnitude(layers: Sequence[Layer], rate: float) -> list[Tensor]:
    """Each layer loses its smallest weights."""
    return [keep_largest(layer.of_kept(layer.weight.abs()), layer.left(rate)) for layer in layers]


def prune_global_magnitude(layers: Sequence[Layer], rate: float) -> list[Tensor]:
    """The network loses its smallest weights, wherever they are; a layer keeps its largest in every case."""
    scores = []
    for layer in layers:
        magnitudes = layer.of_kept(layer.weight.abs())
        magnitudes[magnitudes.argmax()] = ALWAYS
        scores.append(magnitudes)
    stays = keep_largest(torch.cat(scores), sum(layer.left(rate) for layer in layers))
    return list(stays.split([len(score) for score in scores]))


def prune_set(layers: Sequence[Layer], rate: float) -> list[Tensor]:
    """Each layer loses its smallest positive and its largest negative weights, half of what it loses of either sign.

    After Mocanu et al., "Sparse evolutionary training" (2018).
    """
    found = []
    for layer in layers:
        positive, negative = layer.kept & (layer.weight >= 0), layer.kept & (layer.weight < 0)
        lost = layer.count - layer.left(rate)
        # Where one sign has fewer, the other loses the more.
        of_negative = max(min(lost // 2, int(negative.sum())), lost - int(positive.sum()))
        stays = torch.zeros_like(layer.kept)
        for part, count in ((positive, lost - of_negative), (negative, of_negative)):
            stays |= keep_largest(layer.weight.abs().where(part, NEVER), int(part.sum()) - count)
        found.append(stays)
    return found


PRUNE: dict[str, Callable[[Sequence[Layer], float], list[Tensor]]] = {
    "magnitude": prune_magnitude,
    "SET": prune_set,
    "global_magnitude": prune_global_magnitude,
}

# What a layer's share is in proportion to, from the layer as it was and how many weights it has lost.
REDISTRIBUTION: dict[str, Callable[[Layer, int], float]] = {
    "momentum": lambda layer, lost: float(layer.momentum[layer.kept].abs().mean()),
    "magnitude": lambda layer, lost: float(layer.weight[layer.kept].abs().mean()),
    "nonzeros": lambda layer, lost: float(layer.count),
    "none": lambda layer, lost: float(lost),
}


def gradient_size(layer: Layer, generator: torch.Generator) -> Tensor:
    assert layer.gradient is not None  # it is kept for this rule
    return layer.gradient.abs()


# Scores (n,) of a layer: the largest of those without a weight get one.
GROWTH: dict[str, Callable[[Layer, torch.Generator], Tensor]] = {
    "momentum": lambda layer, generator: layer.momentum.abs(),
    "gradient": gradient_size,
    "random": lambda layer, generator: torch.rand(len(layer.kept), generator=generator).to(layer.kept.device),
}


def move(layers: Sequence[Layer], rules: Sparsity, rate: float, generator: torch.Generator) -> list[Tensor]:
    """Which weights the layers keep after an epoch, bool (n,) each; as many in all as before."""
    stay = PRUNE[rules.prune](layers, rate)
    lost = [layer.count - int(part.sum()) for layer, part in zip(layers, stay, strict=True)]
    weights = [REDISTRIBUTION[rules.redistribution](*pair) for pair in zip(layers, lost, strict=True)]
    # Where the others are full, a layer that nothing speaks for grows too.
    weights = [max(weight, LEAST * max(weights), LEAST) for weight in weights]
    room = [len(part) - int(part.sum()) for part in stay]
    grown = []
    for layer, part, count in zip(layers, stay, in_proportion(sum(lost), weights, room), strict=True):
        scores = GROWTH[rules.growth](layer, generator).where(~part, NEVER)
        grown.append(part | keep_largest(scores, count))
    return grown


class SparseMomentum(torch.optim.SGD):
    """SGD over `parameters` of `network`, most of whose weights are 0 after every step, and at once.

    Each layer begins with its largest weights; `end_epoch` moves them. What is kept is part of the state.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], network: nn.Module, rules: Sparsity, *, seed: int, **settings: Any
    ):
        super().__init__(parameters, **settings)
        self.rules, self.seed = rules, seed
        self.weights = weights_of_layers(network)
        # For good: a recorded step reads these tensors.
        self.kept = {
            name: keep_largest(weight.detach().abs(), max(1, round(rules.density * weight.numel())))
            for name, weight in self.weights.items()
        }
        wanted = self.weights if rules.growth == "gradient" else {}
        self.gradients = {name: torch.zeros_like(weight) for name, weight in wanted.items()}
        self._zero_dropped(self.weights)

    def zero_dropped(self, network: nn.Module) -> None:
        """Set to 0, in a network like the one that is trained, what is not kept."""
        self._zero_dropped(weights_of_layers(network))

    @torch.no_grad()
    def _zero_dropped(self, weights: Mapping[str, Tensor]) -> None:
        for name, weight in weights.items():
            weight.masked_fill_(~self.kept[name], 0)

    def step(self, closure: None = None) -> None:  # type: ignore[override]  # nobody here gives one
        super().step()
        for name, gradient in self.gradients.items():
            found = self.weights[name].grad
            assert found is not None
            gradient.copy_(found)
        self._zero_dropped(self.weights)

    def end_epoch(self, epoch: int, epochs: int) -> float:
        """Move weights, `epoch` of `epochs` being over; the share of them that are elsewhere now, 0 to 1."""
        generator = torch.Generator().manual_seed((self.seed << 20) + epoch)  # no two runs or epochs share numbers
        layers = [self._layer(name) for name in self.kept]
        grown = move(layers, self.rules, self.rules.rate(epoch, epochs), generator)
        moved = 0
        for kept, now in zip(self.kept.values(), grown, strict=True):
            now = now.view_as(kept)
            moved += int((now & ~kept).sum())
            kept.copy_(now)
        self._zero_dropped(self.weights)
        return moved / sum(layer.count for layer in layers)

    def _layer(self, name: str) -> Layer:
        weight = self.weights[name]
        gradient = self.gradients[name].flatten() if name in self.gradients else None
        momentum = self.state[weight].get("momentum_buffer")
        momentum = torch.zeros_like(weight) if momentum is None else momentum
        return Layer(weight.detach().flatten(), self.kept[name].flatten(), momentum.flatten(), gradient)

    def state_dict(self) -> dict[str, object]:
        return {**super().state_dict(), "kept": self.kept, "gradients": self.gradients}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict({name: state[name] for name in ("state", "param_groups")})
        for mine, theirs in ((self.kept, state["kept"]), (self.gradients, state["gradients"])):
            for name, value in mine.items():
                value.copy_(theirs[name])
