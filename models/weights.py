"""The weights of a network that may be sparse, and how many of them are not 0."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

DENSE = 0.9995  # what a table shows as 100.0 %


def weights_of_layers(model: nn.Module) -> dict[str, Tensor]:
    """The weights, without biases, of all convolutions and linear layers, by name."""
    return {
        f"{name}.weight": layer.weight
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def describe_weights(model: nn.Module) -> dict | None:
    """{'kept': n, 'total': n, 'layers': [{'layer', 'shape', 'total', 'kept'}]}; None for a network that is dense."""
    layers: list[dict[str, Any]] = [
        {
            "layer": name.removesuffix(".weight"),
            "shape": list(weight.shape),
            "total": weight.numel(),
            "kept": int(weight.count_nonzero()),
        }
        for name, weight in weights_of_layers(model).items()
    ]
    kept, total = (sum(layer[key] for layer in layers) for key in ("kept", "total"))
    return {"kept": kept, "total": total, "layers": layers} if kept < DENSE * total else None
