"""A plain torch network as one of ours: its ReLUs masked, its batch normalisation in branches.

net = mask_relus(SomeNet())          # every nn.ReLU is a MaskedReLU now
model = PlainNetwork(spec, net)      # what a function of `--model PATH.py:function` need not do itself
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from helper.errors import UserError
from models.layers import BranchNorm2d, MaskedReLU, ModelSpec, Network, relu_sites, size_masks

# Functions that bend a map, by which a network could go round its masks.
ACTIVATIONS = {"relu", "relu_", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "selu", "celu", "gelu", "silu", "mish"}
ACTIVATIONS |= {"hardtanh", "hardswish", "hardsigmoid", "sigmoid", "tanh", "softplus", "softsign", "threshold"}


def mask_relus(net: nn.Module) -> nn.Module:
    """`net` itself, with a MaskedReLU that keeps all its ReLUs in the place of every nn.ReLU.

    Raises UserError where there is none, and where one module stands in two places. What only a forward pass shows, a
    ReLU that is called twice or an activation that is no module, is refused when the network is built.
    """
    places: dict[nn.ReLU, tuple[nn.Module, str, str]] = {}
    for path, parent in net.named_modules():
        for name, module in parent._modules.items():
            if not isinstance(module, nn.ReLU):
                continue
            place = f"{path}.{name}".lstrip(".")
            if module in places:
                raise UserError(f"'{places[module][2]}' and '{place}' are one nn.ReLU; give each call one of its own")
            places[module] = parent, name, place
    if not places:
        raise UserError(f"{type(net).__name__} has no nn.ReLU module to mask; make every relu of its forward one")
    for parent, name, _ in places.values():
        setattr(parent, name, MaskedReLU())
    return net


class PlainNetwork(Network):
    """`net`, any module from normalised images to logits, behind our normalisation.

    Its stages end with the last ReLU of every size of maps; attention transfer compares those maps.
    """

    def __init__(self, spec: ModelSpec, net: nn.Module):
        super().__init__(spec)
        self.net = branch_norms(net, spec.branches)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.normalize(x))

    def forward_features(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        last = {site.map_shape[1:]: name for name, site in relu_sites(self).items()}
        found: dict[str, Tensor] = {}
        handles = [
            self.get_submodule(name).register_forward_hook(
                lambda site, inputs, output, name=name: found.__setitem__(name, output)
            )
            for name in last.values()
        ]
        try:
            logits = self(x)
        finally:
            for handle in handles:
                handle.remove()
        return logits, [found[name] for name in last.values()]


def branch_norms(net: nn.Module, branches: int) -> nn.Module:
    """`net` itself, with every nn.BatchNorm2d, weights and all, as each branch of a BranchNorm2d."""
    ours = {norm for module in net.modules() if isinstance(module, BranchNorm2d) for norm in module.branches}
    for path, parent in list(net.named_modules()):
        for name, module in list(parent._modules.items()):
            if not isinstance(module, nn.BatchNorm2d) or module in ours:
                continue
            if not (module.affine and module.track_running_stats and module.momentum):
                raise UserError(f"'{path}.{name}' has no scale and shift, or no running statistics with a momentum")
            norm = BranchNorm2d(module.num_features, branches)
            norm.branches = nn.ModuleList(deepcopy(module) for _ in range(branches))
            setattr(parent, name, norm)
    return net


def check_masks(model: Network) -> None:
    """Raise UserError, one line, where not every activation is a MaskedReLU that is called once, in declared order.

    The masks are sized afterwards.
    """
    sites = relu_sites(model)
    if not sites:
        raise UserError("has no masked ReLU; build it of MaskedReLU, or return rlnet.mask_relus(net)")
    called: list[str] = []
    side = model.spec.image_size
    was_training = model.training
    with torch.no_grad(), _watched(sites, called):
        try:
            logits = model.eval()(torch.zeros(2, 3, side, side))
        except (RuntimeError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(f"cannot take images (2, 3, {side}, {side}): {reason}") from error
        finally:
            model.train(was_training)
    if tuple(logits.shape) != (2, model.spec.num_classes):
        raise UserError(f"gives {tuple(logits.shape)} for 2 images of {model.spec.num_classes} classes")
    twice = [name for name, count in Counter(called).items() if count > 1]
    if twice:
        raise UserError(f"calls its ReLU '{twice[0]}' twice; give each call a module of its own")
    if unused := [name for name in sites if name not in called]:
        raise UserError(f"never calls its ReLU '{unused[0]}'; leave it out")
    if called != list(sites):
        moved = next(name for name, other in zip(called, sites, strict=True) if name != other)
        raise UserError(f"calls its ReLU '{moved}' in another place than it declares it; declare them as called")
    size_masks(model)


@contextmanager
def _watched(sites: dict[str, MaskedReLU], called: list[str]) -> Iterator[None]:
    """Within the context, every call of a site is noted, and an activation outside of them raises UserError."""
    inside: Counter[str] = Counter()

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            name = getattr(function, "__name__", "")
            if name in ACTIVATIONS and not inside["site"]:
                raise UserError(f"calls {name} outside of its ReLU modules; make it an nn.ReLU module, then mask_relus")
            return function(*args, **(kwargs or {}))

    def enter(name: str):
        def hook(site: MaskedReLU, inputs: tuple[Tensor, ...]) -> None:
            called.append(name)
            inside["site"] += 1

        return hook

    def leave(site: MaskedReLU, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        inside["site"] -= 1

    handles = [site.register_forward_pre_hook(enter(name)) for name, site in sites.items()]
    handles += [site.register_forward_hook(leave) for site in sites.values()]
    try:
        with Watch():
            yield
    finally:
        for handle in handles:
            handle.remove()
