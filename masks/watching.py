"""The maps at a network's ReLU sites, as forward passes make them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from models.layers import relu_sites


@contextmanager
def watch_sites(model: nn.Module, see: Callable[[str, Tensor], None], *, before_relu: bool = False) -> Iterator[None]:
    """Within the context, every forward pass shows the output (or input) of every MaskedReLU to `see(name, map)`."""

    def watch(name: str):
        def hook(site: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            see(name, (inputs[0] if before_relu else output).detach())

        return hook

    handles = [site.register_forward_hook(watch(name)) for name, site in relu_sites(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def site_maps(model: nn.Module, *, before_relu: bool = False) -> Iterator[dict[str, Tensor]]:
    """Within the context, every forward pass leaves the output (or input) of every MaskedReLU in the dict, by name."""
    maps: dict[str, Tensor] = {}
    with watch_sites(model, maps.__setitem__, before_relu=before_relu):
        yield maps
