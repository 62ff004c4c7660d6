"""The lines that bench_train compares: one stage's training step with more and more measures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from attacks.attack import AttackSettings
from benchmarks.bench_data import SIZE
from benchmarks.plain_step import PlainStep
from dataset import ArraySource, dataset_spec
from dataset.batches import ShardedBatches
from dataset.device_loader import DeviceTrainLoader, ResidentImages
from distiller_zoo.modes import Weights
from helper.placement import to_device
from helper.precision import allow_tf32
from helper.processes import Processes
from masks.feature_gap import FeatureGapSearch
from masks.search import Course
from masks.selection import MaskChooser, set_random_masks
from models import build_model, student_name
from models.layers import Network, relu_sites
from training.acceleration import Acceleration
from training.graphs import WARM_UPS
from training.meter import EpochMeter
from training.objective import parse_objective
from training.stage import prepare_parallel, prepare_teacher
from training.step import Task
from training.update import Update

DATA = dataset_spec("cifar10")
MODES = {0: "pgd", 1: "rslad+ce", 2: "rslad+attn+augattn+ce"}
RATE = 1e-3


@dataclass(frozen=True)
class Line:
    """One line of the ladder. `ours` is training/step.py; before it comes the plain step."""

    name: str
    ours: bool = True
    frozen: bool = True
    channels_last: bool = True
    tf32: bool = False
    amp: str = "none"
    graphs: bool = False
    data: bool = False
    needs_gpu: bool = False


LADDER = [
    Line("reference", ours=False, frozen=False, channels_last=False),
    Line("frozen", ours=False, channels_last=False),
    Line("one forward", channels_last=False),
    Line("channels_last"),
    Line("tf32", tf32=True, needs_gpu=True),
    Line("bf16", tf32=True, amp="bf16"),
    Line("graphs", tf32=True, amp="bf16", graphs=True, needs_gpu=True),
    Line("data", tf32=True, amp="bf16", graphs=True, data=True),
]


def make_batches(size: int, processes: Processes) -> DeviceTrainLoader:
    """Batches of noise, cropped, flipped and mixed on the device: what is in an image changes no operation's time."""
    rng = np.random.default_rng(0)
    count = 4 * size
    source = ArraySource(
        rng.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8), rng.integers(0, DATA.num_classes, count)
    )
    resident = ResidentImages(source, processes.device)
    return DeviceTrainLoader(resident, range(count), ShardedBatches(count, size, 0), flip=True, augment="augmix")


def endless(batches: DeviceTrainLoader) -> Iterator[dict[str, Tensor]]:
    while True:
        yield from batches


class FlopCounter(TorchDispatchMode):
    """Adds up the FLOP of every kernel within the context, by torch's own formulas.

    torch's FlopCounterMode assigns them to modules too, by hooks that gradients with respect to images do not bear.
    """

    def __init__(self):
        super().__init__()
        self.flop = 0

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        result = kernel(*args, **(kwargs or {}))
        if formula := flop_registry.get(kernel.overloadpacket):
            self.flop += formula(*args, **(kwargs or {}), out_val=result)
        return result


@dataclass
class Contestant:
    """A line at work in one stage. `step()` returns a scalar tensor, the loss, or None.

    `mean_loss()`: over all steps so far, or None.
    """

    line: Line
    step: Callable[[], Tensor | None]
    read_loss: Callable[[Any], float]  # of what a step returned
    precision: Callable[[], AbstractContextManager]
    mean_loss: Callable[[], float | None] = lambda: None
    figures: dict = field(default_factory=dict)

    def __call__(self) -> Tensor | None:
        with self.precision():
            return self.step()


class Bench:
    """The contestants of one stage, which all start from one student, one teacher and one batch."""

    def __init__(
        self, stage: int, processes: Processes, batches: DeviceTrainLoader, *, model: str, kept: float, steps: int
    ):
        """`model`: the teacher's; `kept`: share of the student's ReLUs; `steps`: of PGD."""
        self.stage, self.processes, self.batches = stage, processes, batches
        self.attack = AttackSettings("pgd", 8 / 255, 2 / 255, steps)
        torch.manual_seed(0)
        name = student_name(model) if stage else model
        self.student, self.teacher = self.network(name), self.network(model) if stage else None
        if stage:
            self.budget = [int(kept * site.total) for site in relu_sites(self.student).values()]
            set_random_masks(self.student, self.budget, seed=0)
        self.batch = next(iter(batches))

    def network(self, name: str) -> Network:
        return build_model(
            name, num_classes=DATA.num_classes, image_size=SIZE, branches=2, mean=DATA.mean, std=DATA.std
        )

    def enter(self, line: Line) -> Contestant:
        """The line, its first step counted, its warm-up done."""
        device = self.processes.device
        on_gpu = device.type == "cuda"
        before = torch.cuda.memory_allocated(device) if on_gpu else 0
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(device)
        contestant = self.ours(line) if line.ours else self.plain(line)
        with FlopCounter() as counter:
            loss = contestant.read_loss(contestant())
        started = perf_counter()
        for _ in range(WARM_UPS if line.ours else 1):
            contestant()
        if on_gpu:
            torch.cuda.synchronize(device)
        contestant.figures |= {
            "flop": counter.flop,
            "loss": loss,
            "warm_up_seconds": perf_counter() - started,
            "peak_bytes": torch.cuda.max_memory_allocated(device) - before if on_gpu else None,
        }
        return contestant

    def plain(self, line: Line) -> Contestant:
        device = self.processes.device
        student = copy.deepcopy(self.student).to(device)
        teacher = copy.deepcopy(self.teacher).to(device).eval().requires_grad_(False) if self.teacher else None
        step = PlainStep(self.stage, student, teacher, self.attack, rate=RATE, frozen=line.frozen)
        return Contestant(line, lambda: step(self.batch), float, lambda: allow_tf32(False))

    def ours(self, line: Line) -> Contestant:
        device = self.processes.device.type
        graphs = line.graphs and device == "cuda"
        acceleration = Acceleration(device, line.amp, line.channels_last, graphs, must_record=graphs)
        update = Update(*self.task(acceleration), EpochMeter(self.processes.device))
        source = self.endless_batch() if not line.data else endless(self.batches)
        batches = to_device(source, self.processes.device, channels_last=line.channels_last)

        def precision() -> AbstractContextManager:
            stack = ExitStack()
            stack.enter_context(acceleration.training())
            stack.enter_context(allow_tf32(line.tf32))
            return stack

        def mean_loss() -> float:
            return update.meter.means()["loss"]

        return Contestant(
            line, lambda: update(next(batches), 0, RATE), lambda _: mean_loss(), precision, mean_loss=mean_loss
        )

    def endless_batch(self) -> Iterator[dict[str, Tensor]]:
        while True:
            yield self.batch

    def task(self, acceleration: Acceleration) -> tuple[Task, torch.optim.Optimizer]:
        student, teacher = copy.deepcopy(self.student), copy.deepcopy(self.teacher)
        objective = parse_objective(
            MODES[self.stage], augmix=True, attack=True, weights=Weights(), with_teacher=self.stage > 0
        )
        layout = {"channels_last": acceleration.channels_last}
        parallel = prepare_parallel(student, objective, self.processes, sync_bn=True, **layout)
        if teacher:
            prepare_teacher(teacher, self.processes, **layout)
        search = FeatureGapSearch(student, MaskChooser(self.budget), Course(epochs=1)) if self.stage == 1 else None
        task = Task(
            self.processes,
            student.train(),
            parallel,
            objective,
            self.attack,
            teacher,
            search,
            acceleration=acceleration,
        )
        optimizer = torch.optim.SGD(student.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4, fused=True)
        return task, optimizer
