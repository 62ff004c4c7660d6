"""Gradual magnitude pruning (Zhu and Gupta, arXiv 1710.01878), by which SENet (Kundu et al., ICLR 2023) finds how
sensitive layers are: one that keeps many of its weights is sensitive to pruning them, and can do without its ReLUs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.layers import Network, relu_sites

SETTLED = 0.75  # share of the steps after which the density is reached; the rest trains at it
UPDATES = 100  # how often, at most, weights are chosen anew until then


def feeding_weights(model: Network) -> dict[str, list[nn.Parameter]]:
    """{ReLU site: weights of the convolutions and linear layers that run between the site before it and this one}.

    A site behind which none runs has those of the site before it. Sites come in the order of the forward pass.
    """
    found: dict[str, list[nn.Parameter]] = {}
    waiting: list[nn.Parameter] = []

    def took_weights(module: Any, *_: object) -> None:
        waiting.append(module.weight)

    def reached(name: str):
        def hook(*_: object) -> None:
            found[name] = list(waiting) or list(found.values())[-1]
            waiting.clear()

        return hook

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(took_weights) for layer in layers]
    handles += [site.register_forward_hook(reached(name)) for name, site in relu_sites(model).items()]
    was_training = model.training
    try:
        with torch.no_grad():
            device = next(model.parameters()).device
            model.eval()(torch.zeros(1, 3, model.spec.image_size, model.spec.image_size, device=device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return found


class GradualPruning:
    """Takes the weights that feed ReLU layers down to a share `density` of them, over `steps` steps.

    After step t the share is d + (1 - d) (1 - t / T)^3, T being SETTLED of the steps; the largest magnitudes of all
    layers together stay, ties broken by position, and what is pruned stays 0. Weights that are 0 count as pruned, so
    that a network that was pruned for a while goes on.
    """

    def __init__(self, model: Network, density: float, steps: int):
        self.density, self.steps, self.feeding = density, steps, feeding_weights(model)
        self.weights = list(dict.fromkeys(weight for weights in self.feeding.values() for weight in weights))
        self.total = sum(weight.numel() for weight in self.weights)
        self.every = max(1, round(SETTLED * steps) // UPDATES)
        self.kept: list[Tensor] = [weight.detach() != 0 for weight in self.weights]

    def share(self, step: int) -> float:
        """Of the weights, after so many steps."""
        left = max(0.0, 1 - step / max(1, round(SETTLED * self.steps)))
        return self.density + (1 - self.density) * left**3

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        if step % self.every == 0 or step == self.steps:
            self._choose(round(self.share(step) * self.total))
        for weight, kept in zip(self.weights, self.kept, strict=True):
            weight.mul_(kept)

    def _choose(self, count: int) -> None:
        size = torch.cat(
            [(weight.abs() * kept).flatten() for weight, kept in zip(self.weights, self.kept, strict=True)]
        )
        chosen = torch.zeros_like(size, dtype=torch.bool)
        chosen[size.sort(descending=True, stable=True).indices[:count]] = True
        parts = chosen.split([weight.numel() for weight in self.weights])
        self.kept = [part.view_as(weight) for part, weight in zip(parts, self.weights, strict=True)]

    def densities(self) -> dict[str, float]:
        """{ReLU site: the share of the weights feeding it that are kept}."""
        kept = dict(zip(self.weights, (int(mask.sum()) for mask in self.kept), strict=True))
        return {
            name: sum(kept[weight] for weight in weights) / sum(weight.numel() for weight in weights)
            for name, weights in self.feeding.items()
        }
