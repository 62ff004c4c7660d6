"""From a network of ours to its program: the graph by torch.fx, the normalisations folded into their neighbours.

The models are not changed for it, and know nothing of it: MaskedReLU, BranchNorm2d and Normalize are leaves. A new
architecture works as it is, or fails with one line that names the operation that stands in the way.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from helper.errors import UserError
from models.layers import BranchNorm2d, MaskedReLU, Network, Normalize
from private_inference.program.fold import fold_norms
from private_inference.program.steps import INPUT, Program, Settings, Step, output_shape, pair

LEAVES = (MaskedReLU, BranchNorm2d, Normalize)

Shape = tuple[int, ...]
Described = tuple[str, dict[str, np.ndarray], Settings]  # kind, arrays and settings of a step


class Unsupported(Exception):
    """An operation, or a setting of one, that no step stands for. The message goes on '<operation>'."""


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, LEAVES) or super().is_leaf_module(module, name)


def build_program(model: Network, branch: int = 0, *, fold: bool = True) -> Program:
    """The program of `model` in eval mode through one batch-norm branch; without `fold`, norms are steps of their own.

    Raises UserError for a branch that the model lacks, and for a model that does what no step stands for.
    """
    if not 0 <= branch < model.spec.branches:
        raise UserError(f"branch {branch}: this network has {model.spec.branches}, counted from 0")
    was_training = model.training
    try:
        graph = _Tracer().trace(model.eval())
    except (fx.proxy.TraceError, TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"no fixed list of steps: the model's forward depends on its input ({reason})") from error
    finally:
        model.train(was_training)
    for node in reversed(graph.nodes):  # what a forward computes and nobody reads need not have a step
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)
    program = _Reader(model, branch).read(graph)
    return fold_norms(program) if fold else program


class _Reader:
    """Turns the nodes of a graph into steps, one after the other. `names` and `shapes` are by node and by value."""

    def __init__(self, model: Network, branch: int):
        self.model = model
        self.branch = branch
        side = model.spec.image_size
        self.input_shape = (3, side, side)
        self.shapes: dict[str, Shape] = {INPUT: self.input_shape}
        self.names: dict[fx.Node, str] = {}
        self.steps: list[Step] = []

    def read(self, graph: fx.Graph) -> Program:
        for node in graph.nodes:
            try:
                self._read(node)
            except Unsupported as reason:
                what = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target)
                raise UserError(
                    f"'{what}' {reason}; private_inference/program/steps.py lists the steps there are, and "
                    "private_inference/program/trace.py what becomes one"
                ) from reason
        return Program(self.input_shape, tuple(self.steps))

    def _read(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.names[node] = INPUT
        elif node.op == "output":
            result = node.args[0]
            if not isinstance(result, fx.Node) or self.names.get(result) != self.steps[-1].output:
                raise Unsupported("of the network is no logits of its last step")
        elif node.op == "call_module":
            module = self.model.get_submodule(str(node.target))
            become = next((become for kind, become in MODULES.items() if isinstance(module, kind)), None)
            if become is None or len(node.args) != 1 or node.kwargs:
                raise Unsupported(f"({type(module).__name__}) has no step that stands for it")
            self._emit(node, become(module, self.branch, self.shapes[self._input(node.args[0])]))
        elif node.op in ("call_function", "call_method") and node.target in CALLS:
            values = [value for value in node.args if isinstance(value, fx.Node)]
            rest = [value for value in node.args if not isinstance(value, fx.Node)]
            described = CALLS[node.target](*rest, **node.kwargs)
            if len(values) != (2 if described and described[0][0] == "add" else 1):
                raise Unsupported("takes something that is no map")
            self._emit(node, described, *values[1:])
        else:
            raise Unsupported("has no step that stands for it")

    def _input(self, node: object) -> str:
        if not isinstance(node, fx.Node) or node not in self.names:
            raise Unsupported("takes something that is no map")
        return self.names[node]

    def _emit(self, node: fx.Node, described: list[Described], *others: fx.Node) -> None:
        """Append these steps, each on the last one's value; an empty list is the identity."""
        value = self._input(node.args[0])
        layer = str(node.target) if node.op == "call_module" else node.name
        for number, (kind, arrays, settings) in enumerate(described):
            output = node.name if number == len(described) - 1 else f"{node.name}_{number}"
            inputs = (value, *(self._input(other) for other in others))
            if kind == "average_pool" and not settings:  # over the whole map
                settings = {"kernel": pair(self.shapes[value][1:]), "stride": pair(self.shapes[value][1:])}
            step = Step(kind, inputs, output, layer, arrays, settings)
            try:
                self.shapes[output] = output_shape(step, *(self.shapes[name] for name in inputs))
            except ValueError as error:
                raise Unsupported(f"is no {kind} for maps of one image ({error})") from error
            self.steps.append(step)
            value = output
        self.names[node] = value


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().to(torch.float32).contiguous().numpy().copy()


def _normalize(module: Normalize, branch: int, shape: Shape) -> list[Described]:
    # In float64, so that folding rounds once.
    mean, std = (tensor.detach().cpu().double() for tensor in (module.mean, module.std))
    return [("affine", {"scale": array(1 / std), "bias": array(-mean / std)}, {})]


def _norm(module: BranchNorm2d, branch: int, shape: Shape) -> list[Described]:
    norm = module.branch(branch)
    mean, variance, weight, bias = (
        tensor.detach().cpu().double()[:, None, None]
        for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    scale = weight * torch.rsqrt(variance + norm.eps)
    return [("affine", {"scale": array(scale), "bias": array(bias - mean * scale)}, {})]


def _relu(module: MaskedReLU, branch: int, shape: Shape) -> list[Described]:
    mask = module.mask.detach().cpu()
    if not mask.any():
        return []
    return [("relu", {} if mask.all() else {"mask": mask.expand(shape).contiguous().numpy().copy()}, {})]


def _conv(module: nn.Conv2d, branch: int, shape: Shape) -> list[Described]:
    if pair(module.dilation) != (1, 1) or module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise Unsupported("is dilated, or padded with something else than a fixed width of zeros")
    bias = torch.zeros(module.out_channels) if module.bias is None else module.bias
    settings: Settings = {"stride": pair(module.stride), "padding": pair(module.padding), "groups": module.groups}
    return [("conv", {"weight": array(module.weight), "bias": array(bias)}, settings)]


def _linear(module: nn.Linear, branch: int, shape: Shape) -> list[Described]:
    bias = torch.zeros(module.out_features) if module.bias is None else module.bias
    return [("linear", {"weight": array(module.weight), "bias": array(bias)}, {})]


def _max_pool(module: nn.MaxPool2d, branch: int, shape: Shape) -> list[Described]:
    if pair(module.dilation) != (1, 1) or module.ceil_mode or module.return_indices:
        raise Unsupported("is dilated, rounds up or returns indices")
    kernel, stride, padding = (pair(size) for size in (module.kernel_size, module.stride, module.padding))
    return [("max_pool", {}, {"kernel": kernel, "stride": stride, "padding": padding})]


def _average_pool(module: nn.AvgPool2d, branch: int, shape: Shape) -> list[Described]:
    if pair(module.padding) != (0, 0) or module.ceil_mode or module.divisor_override:
        raise Unsupported("is padded, rounds up or has a divisor of its own")
    return [("average_pool", {}, {"kernel": pair(module.kernel_size), "stride": pair(module.stride)})]


def _global_pool(size: object = 1, **more: object) -> list[Described]:
    if more or size is None or pair(size) != (1, 1):
        raise Unsupported("pools to something else than one value a channel")
    return [("average_pool", {}, {})]


def _flatten(start_dim: int = 0, end_dim: int = -1) -> list[Described]:
    if (start_dim, end_dim) != (1, -1):
        raise Unsupported("flattens something else than one image's values")
    return [("flatten", {}, {})]


def _mean(dim: object = None, keepdim: bool = False) -> list[Described]:
    if not isinstance(dim, tuple | list) or tuple(dim) not in {(2, 3), (-2, -1)}:
        raise Unsupported("is no mean over height and width")
    return [*_global_pool(), *([] if keepdim else _flatten(1))]


def _add(*other: object, **more: object) -> list[Described]:
    if other or more:
        raise Unsupported("adds something that is no map")
    return [("add", {}, {})]


# What becomes of a module: steps as (kind, arrays, settings), of (module, branch, shape of the map it meets).
MODULES: dict[type[nn.Module], Callable[[Any, int, Shape], list[Described]]] = {
    Normalize: _normalize,
    BranchNorm2d: _norm,
    MaskedReLU: _relu,
    nn.Conv2d: _conv,
    nn.Linear: _linear,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
    nn.AdaptiveAvgPool2d: lambda module, *_: _global_pool(module.output_size),
    nn.Flatten: lambda module, *_: _flatten(module.start_dim, module.end_dim),
    nn.Identity: lambda *_: [],
    nn.Dropout: lambda *_: [],
    nn.Dropout2d: lambda *_: [],
}
# What becomes of a function or a method, of its arguments that are no values.
CALLS: dict[Callable | str, Callable[..., list[Described]]] = {
    operator.add: _add,
    operator.iadd: _add,
    torch.add: _add,
    "add": _add,
    torch.flatten: _flatten,
    "flatten": _flatten,
    torch.mean: _mean,
    "mean": _mean,
    F.adaptive_avg_pool2d: _global_pool,
}
