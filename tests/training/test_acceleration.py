"""bfloat16 trains as float32 does, what must be float32 is, and nothing waits for the device or takes its memory."""

from __future__ import annotations

import pytest
import torch
from support.memory import peak_memory
from support.networks import feature_gap
from support.tape import NoHostSync
from torch import nn
from torch.nn import functional as F

from attacks.attack import AttackSettings
from distiller_zoo.modes import Weights
from evaluation.accuracy import evaluate
from helper.errors import UserError
from helper.precision import allow_tf32, full_precision
from helper.processes import Processes
from masks.selection import set_random_masks
from masks.watching import watch_sites
from models import build_model
from models.layers import relu_sites
from training.acceleration import Acceleration, cast_weights, choose_amp, choose_compile
from training.average import WeightAverage
from training.epoch import train_one_epoch
from training.forward import forward_views
from training.meter import EpochMeter
from training.objective import parse_objective
from training.stage import prepare_parallel, prepare_teacher
from training.step import Task, training_loss
from training.update import Update

ALONE = Processes(0, 1, torch.device("cpu"))
ATTACK = AttackSettings("pgd", 8 / 255, 2 / 255, 2)
ROBUST = "rslad+ce+attn+augattn"


@pytest.fixture
def make_robust_task(network, make_task):
    def make(amp: str = "none", **more) -> Task:
        student, teacher = network(2, seed=1), network(2, seed=2)
        set_random_masks(student, [500] * len(relu_sites(student)), seed=0)
        objective = parse_objective(ROBUST, augmix=True, attack=True, weights=Weights())
        search = feature_gap(student, 500)
        teacher.requires_grad_(False).eval()
        more = {"attack": ATTACK, "search": search, "acceleration": Acceleration("cpu", amp), **more}
        return make_task(student.train(), objective, teacher=teacher, **more)

    return make


def make_update(task: Task, rate: float = 0.01) -> Update:
    optimizer = torch.optim.SGD(task.student.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4, fused=True)
    return Update(task, optimizer, EpochMeter(task.processes.device), WeightAverage(task.student, decay=0.9))


def on(device: str = "cpu", count: int = 1) -> Processes:
    return Processes(0, count, torch.device(device))


@pytest.mark.parametrize("bf16", [True, False])
def test_auto_is_what_is_fastest_and_safe(bf16: bool, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    assert choose_amp("auto", torch.device("cpu")) == "auto"  # until there is a network to time: test_precision.py
    assert choose_amp("auto", torch.device("cuda")) == ("bf16" if bf16 else "none")
    for asked in ("none", "bf16"):
        assert choose_amp(asked, torch.device("cpu")) == asked
    assert all(choose_compile("auto", where) == "none" for where in (on(), on("cuda"), on("cuda", 2)))
    assert choose_compile("graphs", on("cuda")) == "graphs"


def test_what_the_device_cannot_do_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(UserError, match=r"no bfloat16.*--amp none"):
        choose_amp("bf16", torch.device("cuda"))
    with pytest.raises(UserError, match=r"--compile graphs needs a GPU.*--compile auto or none"):
        choose_compile("graphs", on())
    with pytest.raises(UserError, match="one process, and these are 2; use --compile none"):
        choose_compile("graphs", on("cuda", 2))


@pytest.mark.slow
def test_losses_over_50_steps_follow_float32(make_robust_task, batch):
    generator = torch.Generator().manual_seed(1)
    losses = {}
    for amp in ("none", "bf16"):
        update = make_update(make_robust_task(amp))
        generator.manual_seed(1)
        losses[amp] = []
        for step in range(50):
            order = torch.randperm(6, generator=generator)
            update({name: value[order] for name, value in batch.items()}, step, 0.01)
            losses[amp].append(update.meter.means()["loss"])
            update.meter.reset()
    float32, bf16 = (torch.tensor(losses[amp]) for amp in losses)
    # bfloat16 has 8 bits; what it rounds off adds up over the steps.
    assert ((bf16 - float32).abs() / float32)[:5].max() < 0.02
    assert ((bf16 - float32).abs() / float32).max() < 0.1
    assert abs(float(bf16.mean() / float32.mean()) - 1) < 0.02
    assert float32[-5:].mean() < 0.9 * float32[:5].mean()


def test_what_must_be_float32_is(make_robust_task, batch, monkeypatch):
    task = make_robust_task("bf16")
    seen = {}

    class Spy(AttackSettings):
        def __call__(self, fn, x, target, *, loss, random_start):
            seen["logits"], seen["target"] = fn(x).dtype, target.dtype
            layers = [module for module in task.student.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
            seen["weights in the attack"] = {layer.weight.dtype for layer in layers}
            x_adv = super().__call__(fn, x, target, loss=loss, random_start=random_start)
            seen["x_adv"], seen["distance"] = x_adv.dtype, float((x_adv - x).abs().max())
            assert x_adv.min() >= 0
            assert x_adv.max() <= 1
            return x_adv

    task.attack = Spy("pgd", 8 / 255, 2 / 255, 5)
    parameters = list(task.student.parameters())
    maps = []
    with watch_sites(task.student, lambda name, map_: maps.append(map_.dtype)):
        loss = training_loss(task, batch, 0, EpochMeter(ALONE.device))
    loss.backward()
    assert set(maps) == {torch.bfloat16}  # or else nothing here is a test of it
    assert seen["weights in the attack"] == {torch.bfloat16}
    assert all(after is before for after, before in zip(task.student.parameters(), parameters, strict=True))
    assert {seen[name] for name in ("logits", "target", "x_adv")} == {torch.float32}
    assert seen["distance"] <= 8 / 255 + 1e-7
    assert loss.dtype == torch.float32
    assert {p.dtype for p in parameters} == {p.grad.dtype for p in parameters} == {torch.float32}
    statistics = [value for name, value in task.student.named_buffers() if "running" in name]
    assert {value.dtype for value in statistics} == {torch.float32}
    assert {total.dtype for total in task.search.sums.values()} == {torch.float32}
    assert any(total.abs().max() > 0 for total in task.search.sums.values())


@pytest.mark.parametrize("synchronised", [False, True])
def test_batch_statistics_are_sums_in_float32(synchronised, network):
    """Of 2**15 values near 1000, a sum in bfloat16 would stop growing."""
    model = network().train()
    norm = model.bn1
    if synchronised:
        norm.average = torch.clone
    channels = norm.branches[0].num_features
    x = (1000 + 8 * torch.randn(8, channels, 64, 64)).bfloat16()
    norm.branches[0].reset_running_stats()
    with Acceleration("cpu", "bf16").autocast():
        assert norm(x).dtype == torch.bfloat16
    wide = x.float()
    torch.testing.assert_close(norm.branches[0].running_mean, 0.1 * wide.mean((0, 2, 3)), rtol=1e-4, atol=0)
    want = 0.9 + 0.1 * wide.var((0, 2, 3))
    torch.testing.assert_close(norm.branches[0].running_var, want, rtol=1e-2, atol=0)


def test_cast_weights_computes_what_autocast_computes(network, batch):
    model = network().eval()
    before = {name: id(parameter) for name, parameter in model.named_parameters()}
    with torch.no_grad(), Acceleration("cpu", "bf16").autocast():
        want = model(batch["clean"])
        with cast_weights(model, torch.bfloat16):
            assert model.conv1.weight.dtype == torch.bfloat16
            assert torch.equal(model(batch["clean"]), want)
        with pytest.raises(RuntimeError), cast_weights(model, torch.bfloat16):
            model(batch["clean"][:, :2])
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == before


def test_evaluation_is_float32_even_within_autocast(network, batch):
    model, dtypes, allowed = network(2), set(), set()

    def see(name, map_):
        dtypes.add(map_.dtype)
        allowed.add((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))

    with allow_tf32(True), watch_sites(model, see), Acceleration("cpu", "bf16").autocast():
        evaluate(model, [batch], ALONE, clean_branches=[0], attack_branches=[1], attack=ATTACK)
        with full_precision():
            assert model(batch["clean"]).dtype == torch.float32
        assert torch.backends.cuda.matmul.allow_tf32
    assert dtypes == {torch.float32}
    assert allowed == {(False, False)}


@pytest.mark.parametrize(("amp", "tf32"), [("none", False), ("bf16", True)])
def test_tf32_is_for_training_with_bf16_alone(amp, tf32):
    before = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark)
    with Acceleration("cuda", amp).training():
        assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == (tf32, tf32)
        assert torch.backends.cudnn.benchmark
    after = (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.benchmark)
    assert after == before


@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_a_step_reads_nothing_from_the_device(amp, make_robust_task, batch):
    update = make_update(make_robust_task(amp))
    with NoHostSync():
        for step in range(2):
            update(batch, step, 0.01)


def test_an_epoch_reads_figures_as_often_as_it_prints(make_robust_task, batch, monkeypatch):
    """By what Python asks of tensors, over whole epochs: loop, bar and stop flag too."""
    reads = []
    for name in ("item", "tolist", "__bool__", "__int__", "__float__"):
        whole = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, whole=whole: reads.append(1) or whole(self))

    def reads_of(steps: int, print_every: int) -> int:
        update = make_update(make_robust_task())
        reads.clear()
        train_one_epoch(
            update,
            [batch] * steps,
            lambda progress: 0.01,
            epoch=0,
            first_step=0,
            steps=steps,
            print_every=print_every,
            stop_after=lambda step: False,
            description="",
        )
        return len(reads)

    few = reads_of(2, 100)
    assert few
    assert reads_of(6, 100) == few
    assert reads_of(6, 2) > few


def test_the_first_batch_of_an_epoch_must_hold_pixels(make_robust_task, batch):
    batch["clean"] = 255 * batch["clean"]
    with pytest.raises(UserError, match=r"must lie in \[0, 1\]"):
        train_one_epoch(
            make_update(make_robust_task()),
            [batch],
            lambda progress: 0.01,
            epoch=0,
            first_step=0,
            steps=1,
            print_every=1,
            stop_after=lambda step: False,
            description="",
        )


@pytest.mark.parametrize(
    ("name", "size", "device"),
    [
        ("resnet8", 32, "cpu"),
        pytest.param("ResNet18", 128, "cuda", marks=pytest.mark.gpu),
    ],
)
@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_memory_is_that_of_a_plain_step_on_the_concatenated_views(amp, name, size, device):
    """At most 1.3 times, though there is a teacher, an attack and a mask search."""
    generator = torch.Generator().manual_seed(0)
    images = {
        view: torch.rand(size, 3, 32, 32, generator=generator).contiguous(memory_format=torch.channels_last)
        for view in ("clean", "aug")
    }
    batch = {**images, "label": torch.arange(size) % 10, "index": torch.arange(size)}
    batch = {key: value.to(device) for key, value in batch.items()}
    processes = Processes(0, 1, torch.device(device))
    student, teacher = (build_model(name, num_classes=10, image_size=32, branches=2) for _ in range(2))
    set_random_masks(student, [500] * len(relu_sites(student)), seed=0)
    objective = parse_objective("rslad+ce", augmix=True, attack=True, weights=Weights())
    parallel = prepare_parallel(student, objective, processes, sync_bn=True)
    prepare_teacher(teacher, processes)
    search = feature_gap(student, 500)
    parts = (processes, student.train(), parallel, objective, ATTACK, teacher, search)
    task = Task(*parts, acceleration=Acceleration(device, amp))
    update = make_update(task)
    half = size // 2
    labels = torch.cat([batch["label"][:half], batch["label"][:half], batch["label"][half:]])
    views = [(batch["clean"][:half], 0), (batch["aug"][:half], 0), (batch["clean"][half:], 1)]

    def plain_step() -> None:
        with task.acceleration.autocast():
            outputs = forward_views(task.parallel, task.student, views)
        F.cross_entropy(torch.cat([output.logits for output in outputs]), labels).backward()
        update.optimizer.step()
        update.optimizer.zero_grad()

    update(batch, 0, 0.01)  # momentum, sums
    assert peak_memory(lambda: update(batch, 0, 0.01), device) <= 1.3 * peak_memory(plain_step, device)
