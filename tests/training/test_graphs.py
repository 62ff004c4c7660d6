"""A recorded step does what the step does: on a tape on the CPU, and as a CUDA graph where there is a GPU."""

from __future__ import annotations

import copy

import pytest
import torch
from support.networks import feature_gap
from support.tape import HostSync, TapeRecorder

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.attack import AttackSettings
from attacks.mode import attack_mode
from distiller_zoo.modes import Weights
from helper.errors import UserError
from helper.processes import Processes
from masks.selection import set_random_masks
from models.layers import relu_sites
from training.acceleration import Acceleration
from training.average import WeightAverage
from training.graphs import WARM_UPS, CannotRecord, CudaRecorder, Recorded
from training.meter import EpochMeter
from training.objective import parse_objective
from training.sparse_momentum import SparseMomentum, Sparsity
from training.stage import prepare_parallel, prepare_teacher
from training.step import Task
from training.update import Update

CPU = torch.device("cpu")
ATTACK = AttackSettings("pgd", 8 / 255, 2 / 255, 2)
NFGSM = AttackSettings("nfgsm", 8 / 255, 0, 1)


def batches(count: int, size: int = 6, device: torch.device = CPU) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(size)

    def images() -> torch.Tensor:
        return torch.rand(size, 3, 32, 32, generator=generator).to(device, memory_format=torch.channels_last)

    return [
        {
            "clean": images(),
            "aug": images(),
            "label": torch.randint(10, (size,), generator=generator).to(device),
            "index": torch.randint(1000, (size,), generator=generator).to(device),
        }
        for _ in range(count)
    ]


@pytest.fixture
def make_update(network):
    """make_update(mode, branches, recorder, device, amp) -> an Update of a masked student under a search, averaged."""

    def make(
        mode, branches, recorder=None, device=CPU, amp="none", must_record=False, attack=ATTACK, sparsity=None
    ) -> Update:
        processes = Processes(0, 1, device)
        student, teacher = network(branches, seed=1), network(branches, seed=2)
        set_random_masks(student, [500] * len(relu_sites(student)), seed=0)
        with_teacher = not mode.startswith("teacher:")
        objective = parse_objective(
            mode.removeprefix("teacher:"), augmix=True, attack=True, weights=Weights(), with_teacher=with_teacher
        )
        parallel = prepare_parallel(student, objective, processes, sync_bn=True)
        search = None
        if with_teacher:
            prepare_teacher(teacher, processes)
            search = feature_gap(student, 500)
        task = Task(
            processes,
            student.train(),
            parallel,
            objective,
            attack,
            teacher if with_teacher else None,
            search,
            acceleration=Acceleration(device.type, amp, must_record=must_record),
        )
        parameters = [parameter for parameter in student.parameters() if parameter.requires_grad]
        settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "fused": True}
        if sparsity:
            optimizer = SparseMomentum(parameters, student, sparsity, seed=0, **settings)
        else:
            optimizer = torch.optim.SGD(parameters, **settings)
        average = WeightAverage(student, decay=0.9)
        return Update(task, optimizer, EpochMeter(device), average, recorder)

    return make


def run(update: Update, steps: int) -> None:
    """Some steps with all that changes in a run: rate, epoch, a smaller last batch, masks, a search that ends."""
    device = update.task.processes.device
    odd = batches(1, 4, device)[0]
    for step, batch in enumerate(batches(steps, device=device)):
        epoch = step // (WARM_UPS + 3)
        update(batch, epoch, 0.05 / (1 + step))
        if step % (WARM_UPS + 3) == WARM_UPS + 1:
            update(odd, epoch, 0.01)
        if step % (WARM_UPS + 3) == WARM_UPS + 2:
            update.meter.reset()
            if update.task.search:
                update.task.search.end_epoch()
                update.masks_changed()
                if epoch == 1:
                    update.task.search = None
            if isinstance(update.optimizer, SparseMomentum):
                update.optimizer.end_epoch(epoch + 1, 4)


def outcome(update: Update) -> dict[str, torch.Tensor]:
    state = {f"weights {name}": value for name, value in update.task.student.state_dict().items()}
    state |= {f"sums {name}": value for name, value in update.meter.sums.items()}
    momentum = update.optimizer.state_dict()["state"]
    state |= {f"momentum {number}": entry["momentum_buffer"] for number, entry in momentum.items()}
    state |= {f"average {name}": value for name, value in update.average.network.state_dict().items()}
    return copy.deepcopy(state)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "branches", "amp", "attack"),
    [
        ("rslad+ce+attn+augattn", 2, "none", ATTACK),
        ("rslad+ce", 2, "bf16", NFGSM),
        ("trades+ce", 3, "none", ATTACK),
        ("teacher:pgd", 2, "none", NFGSM),
    ],
)
def test_a_recorded_step_is_the_step(mode, branches, amp, attack, make_update):
    recorder = TapeRecorder()
    plain = make_update(mode, branches, amp=amp, attack=attack)
    recorded = make_update(mode, branches, recorder, amp=amp, attack=attack)
    steps = 3 * (WARM_UPS + 3)
    for update in (plain, recorded):
        run(update, steps)
    # Warm-ups and smaller batches kernel by kernel, one record for every set of masks, and replays.
    epochs_with_a_search = 2 if plain.task.teacher else 0
    assert recorder.records == 1 + epochs_with_a_search
    assert recorder.warm_ups + recorder.records + recorder.replays == steps + 3
    assert recorder.replays > WARM_UPS
    want, got = outcome(plain), outcome(recorded)
    assert want.keys() == got.keys()
    for name, value in want.items():
        assert torch.equal(value, got[name]), name


@pytest.mark.slow
def test_a_record_goes_by_the_weights_that_are_kept_now(make_update):
    """One record for all epochs, though weights move between them."""
    recorder, sparsity = TapeRecorder(), Sparsity(0.1, "gradient", "magnitude", "momentum", 0.5)
    updates = [make_update("teacher:pgd", 2, each, attack=NFGSM, sparsity=sparsity) for each in (None, recorder)]
    for update in updates:
        run(update, 2 * (WARM_UPS + 3))
    assert recorder.records == 1
    plain, recorded = (update.optimizer for update in updates)
    for name, kept in plain.kept.items():
        assert torch.equal(kept, recorded.kept[name])
        assert not recorded.weights[name][~kept].any()
    want, got = (outcome(update) for update in updates)
    assert all(torch.equal(value, got[name]) for name, value in want.items())


def test_the_recorded_attack_is_the_attack(network):
    """The attack alone, its images given back through a tensor that was there before."""
    inputs = batches(WARM_UPS + 4)
    model = network(2)
    attacked = torch.empty_like(inputs[0]["clean"])

    def attack(batch: dict[str, torch.Tensor]) -> None:
        x = batch["clean"]
        with attack_mode(model, 1) as fn:
            x_adv = ATTACK(
                fn,
                x,
                batch["label"],
                loss=cross_entropy_per_image,
                random_start=lambda: sample_noise(batch["index"], x.shape[1:], 0, 0),
            )
        attacked.copy_(x_adv)

    recorder = TapeRecorder()
    recorded = Recorded(attack, recorder)
    for batch in inputs:
        before = {name: value.clone() for name, value in batch.items()}
        recorded(batch)
        got = attacked.clone()
        attack(batch)
        assert torch.equal(got, attacked)
        assert (got - batch["clean"]).abs().max() <= ATTACK.eps + 1e-7
        assert all(torch.equal(batch[name], value) for name, value in before.items())
    assert recorder.replays == 3
    # A buffer is nobody else's memory.
    pointers = {value.data_ptr() for batch in inputs for value in batch.values()}
    assert not pointers & {value.data_ptr() for value in recorded.buffers.values()}


def test_the_tape_refuses_what_a_graph_cannot_hold():
    def reads(batch):
        if batch["label"].sum() > 0:
            batch["clean"].zero_()

    def brings(batch):
        batch["clean"].mul_(torch.tensor(2.0))

    for work in (reads, brings):
        with pytest.raises(HostSync):
            Recorded(work, TapeRecorder())(batches(1)[0])


def test_the_tape_shows_what_python_should_have_renewed():
    """The tests above would not be worth much if a number that is baked in went unnoticed."""
    total, factor = torch.zeros(()), 1.0
    recorded = Recorded(lambda batch: total.add_(batch["label"].sum() * factor), TapeRecorder())
    batch = batches(1)[0]
    for _ in range(WARM_UPS + 1):
        recorded(batch)
    factor = 0.0
    before = total.clone()
    recorded(batch)
    assert total > before
    recorded.forget()
    before = total.clone()
    recorded(batch)
    assert total == before


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["none", "bf16"])
@pytest.mark.parametrize("mode", ["rslad+ce+attn+augattn", "teacher:pgd"])
def test_a_cuda_graph_of_the_step_is_the_step(mode, amp, make_update):
    device = torch.device("cuda", torch.cuda.current_device())
    plain = make_update(mode, 2, device=device, amp=amp)
    recorded = make_update(mode, 2, CudaRecorder(device), device, amp)
    for update in (plain, recorded):
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            run(update, 3 * (WARM_UPS + 3))
    assert recorded.recorded.replay is not None
    want, got = outcome(plain), outcome(recorded)
    for name, value in want.items():
        if value.is_floating_point():
            # Another stream may have another workspace, and a gradient near 0 another sign.
            torch.testing.assert_close(got[name], value, rtol=0.02, atol=0.02 * float(value.abs().max()) + 1e-6)


@pytest.mark.gpu
def test_a_step_on_a_gpu_never_waits(make_update):
    device = torch.device("cuda", torch.cuda.current_device())
    update = make_update("rslad+ce", 2, device=device, amp="bf16")
    run(update, 2)
    batch = batches(1, device=device)[0]
    torch.cuda.set_sync_debug_mode("error")
    try:
        update(batch, 0, 0.1)
    finally:
        torch.cuda.set_sync_debug_mode("default")


class FailsHalfway:
    """Runs the work until its gradients are there, and then finds that it cannot be recorded."""

    def __init__(self):
        self.update = None

    def warm_up(self, work) -> None:
        work()

    def record(self, work):
        for parameter in self.update.task.student.parameters():
            parameter.grad = torch.full_like(parameter, torch.nan)
        raise CannotRecord("an operation that no graph holds")


def test_a_step_that_cannot_be_recorded_is_done_plainly_or_is_an_error(make_update, capsys):
    plain = make_update("rslad+ce", 2)
    recorder = FailsHalfway()
    falls_back = make_update("rslad+ce", 2, recorder)
    recorder.update = falls_back
    for batch in batches(WARM_UPS + 3):
        plain(batch, 0, 0.1)
        falls_back(batch, 0, 0.1)
    expected = plain.task.student.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in falls_back.task.student.state_dict().items())
    assert capsys.readouterr().out.count("going on without CUDA graphs") == 1
    strict = make_update("rslad+ce", 2, recorder, must_record=True)
    recorder.update = strict
    *warming_up, last = batches(WARM_UPS + 1)
    for batch in warming_up:
        strict(batch, 0, 0.1)
    with pytest.raises(UserError, match="use --compile none"):
        strict(last, 0, 0.1)
