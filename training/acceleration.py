"""What training computes in: bfloat16 or float32, the memory order of maps, CUDA graphs or kernel by kernel.

Networks run under autocast, and nothing else does: weights, batch-norm statistics, losses, perturbations and the sums
of the mask search are float32 in every case. Evaluations are float32 altogether (`full_precision`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn

from helper.errors import UserError
from helper.placement import place_model
from helper.precision import allow_tf32, at_least_float32
from helper.processes import Processes, on_main_process
from models.layers import Network

# What --amp auto times on a CPU, at most: 64 images of 32 pixels, or 8 large ones. From what gain on it takes bfloat16.
TIMED_PIXELS, TIMED_IMAGES = 64 * 32 * 32, 8
WORTHWHILE_GAIN = 1.3

AMP = ("auto", "none", "bf16")
COMPILE = ("auto", "none", "graphs")


@dataclass(frozen=True)
class Acceleration:
    """How training runs on a `device`, 'cpu' or 'cuda'. `amp` is 'none' or 'bf16'; `graphs`: steps are recorded.

    `must_record`: a step that cannot be is an error, for graphs were asked for; else the run goes on without.
    """

    device: str = "cpu"
    amp: str = "none"
    channels_last: bool = True
    graphs: bool = False
    must_record: bool = False

    def autocast(self) -> torch.autocast:
        """The context for forward passes.

        Without autocast's cache of weights: a pass takes each of them once, and a recorded step must cast them anew.
        """
        return torch.autocast(self.device, torch.bfloat16, enabled=self.amp == "bf16", cache_enabled=False)

    @contextmanager
    def logits_of(self, model: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
        """images -> float32 logits of a network that is used often within the context, and does not change there."""
        with cast_weights(model, torch.bfloat16) if self.amp == "bf16" else nullcontext():

            def logits(x: Tensor) -> Tensor:
                with self.autocast():
                    return at_least_float32(model(x))

            yield logits

    @contextmanager
    def training(self) -> Iterator[None]:
        """Within the context a GPU may multiply in TF32 if --amp allows bf16, and cuDNN picks its kernels by trial."""
        if self.device != "cuda":
            yield
            return
        before = torch.backends.cudnn.benchmark
        try:
            torch.backends.cudnn.benchmark = True
            with allow_tf32(self.amp == "bf16"):
                yield
        finally:
            torch.backends.cudnn.benchmark = before


def timed_precision(network: Network, batch_size: int, processes: Processes, *, channels_last: bool) -> str:
    """'bf16' or 'none', whichever a CPU is quicker in: a few steps of `network`, which is left alone, are timed.

    `batch_size` is that of all processes, which must call this together. Touches no random state.
    """
    size = network.spec.image_size
    count = min(batch_size // processes.count, max(TIMED_IMAGES, TIMED_PIXELS // size**2))
    images = torch.rand(count, 3, size, size, generator=torch.Generator())  # not torch's own, which draws the run
    gain = on_main_process(lambda: bf16_gain(network, images, channels_last=channels_last))
    amp = "bf16" if gain >= WORTHWHILE_GAIN else "none"
    if processes.is_main:
        chosen = "bfloat16" if amp == "bf16" else "float32"
        print(f"note: --amp auto: bfloat16 is {gain:.2f} times as fast as float32 on this CPU; training in {chosen}")
    return amp


def bf16_gain(network: Network, images: Tensor, *, channels_last: bool = True) -> float:
    """How many times as fast as float32 the forward and backward passes of a network are in bfloat16 on this CPU.

    Medians of three, taken in turns, after one that is not counted. Works on a copy of the network.
    """
    order = torch.channels_last if channels_last else torch.contiguous_format
    network = place_model(deepcopy(network), images.device, channels_last=channels_last).requires_grad_(True).train()
    images = images.contiguous(memory_format=order)
    seconds: dict[str, list[float]] = {"none": [], "bf16": []}
    for _ in range(4):
        for amp, times in seconds.items():
            started = perf_counter()
            with Acceleration("cpu", amp).autocast():
                logits = network(images)
            logits.float().square().mean().backward()
            times.append(perf_counter() - started)
    return median(seconds["none"][1:]) / median(seconds["bf16"][1:])


def choose_amp(asked: str, device: torch.device) -> str:
    """What --amp stands for on `device`; on a CPU 'auto' stays, until there is a network to time.

    Raises UserError for what the device cannot do.
    """
    if device.type != "cuda":
        return asked
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "bf16" and not bf16:
        raise UserError("--amp bf16: this GPU has no bfloat16 arithmetic; use --amp none")
    return ("bf16" if bf16 else "none") if asked == "auto" else asked


def choose_compile(asked: str, processes: Processes) -> str:
    """What --compile stands for. Raises UserError for what device and processes cannot do."""
    on_gpu = processes.device.type == "cuda"
    if asked == "auto":
        return "none"  # nobody has measured graphs yet: make check-gpu
    if asked == "graphs" and not on_gpu:
        raise UserError("--compile graphs needs a GPU, and this run is on a CPU; use --compile auto or none")
    if asked == "graphs" and processes.count > 1:
        # Gradients are averaged, and statistics synchronised, between kernels of the step.
        raise UserError(f"--compile graphs is for one process, and these are {processes.count}; use --compile none")
    return asked


@contextmanager
def cast_weights(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Within the context the weights of convolutions and linear layers are copies of `dtype`.

    Autocast would cast the same frozen weights again in every forward pass of an attack, to the same values.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    originals = [layer.weight for layer in layers]
    try:
        for layer, weight in zip(layers, originals, strict=True):
            layer.weight = nn.Parameter(weight.detach().to(dtype), requires_grad=False)
        yield
    finally:
        for layer, weight in zip(layers, originals, strict=True):
            layer.weight = weight
