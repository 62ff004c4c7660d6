"""Robust accuracy: restarts, agreement with other people's attacks, and the checks of an evaluation on itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.attack import AttackSettings
from attacks.mode import attack_mode
from attacks.pgd import signed_ascent
from dataset import dataset_spec, load_dataset
from dataset.loaders import eval_loader
from evaluation.robustness import withstands
from evaluation.self_checks import inspect, warnings_of
from formats.measurements import SelfChecks
from helper.processes import Processes
from models import build_model

EPS, STEP = 2 / 255, 0.5 / 255
ALONE = Processes(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def trained():
    """resnet8 after some steps on the digits, and 48 test images: right on most, broken on some."""
    torch.manual_seed(0)
    spec = dataset_spec("digits")
    model = build_model("resnet8", num_classes=10, image_size=32, mean=spec.mean, std=spec.std).train()
    (batch,) = eval_loader(load_dataset("digits", "", train=True, download=False), spec, batch_size=640, limit=1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5  # 40 steps are few for statistics to settle
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(40):
        rows = slice(64 * (step % 10), 64 * (step % 10 + 1))
        optimizer.zero_grad()
        F.cross_entropy(model(batch["clean"][rows]), batch["label"][rows]).backward()
        optimizer.step()
    (test,) = eval_loader(load_dataset("digits", "", train=False, download=False), spec, batch_size=48, limit=1)
    return model.eval(), test["clean"], test["label"], test["index"]


@pytest.mark.slow
def test_an_image_must_withstand_every_restart(trained, monkeypatch):
    model, x, labels, indices = trained
    attacked = []
    whole = AttackSettings.__call__
    monkeypatch.setattr(
        AttackSettings,
        "__call__",
        lambda self, fn, x, *rest, **more: attacked.append(len(x)) or whole(self, fn, x, *rest, **more),
    )
    together = withstands(model, 0, x, labels, AttackSettings("pgd", EPS, STEP, 3, restarts=3), indices, seed=1)
    assert attacked[0] == len(x)
    assert attacked[0] > attacked[1] >= attacked[2] >= together.sum()  # what is broken is not attacked again
    monkeypatch.undo()
    each = torch.ones_like(together)
    for restart in range(3):
        noise = sample_noise(indices, x.shape[1:], 1, restart)
        with attack_mode(model, 0):
            options = {"eps": EPS, "step_size": STEP, "steps": 3, "loss": cross_entropy_per_image}
            each &= model(signed_ascent(model, x, labels, **options, random_start=noise)).argmax(1) == labels
    assert torch.equal(together, each)
    one = withstands(model, 0, x, labels, AttackSettings("pgd", EPS, STEP, 3), indices, seed=1)
    assert 0 < together.sum() < one.sum() or torch.equal(together, one)


@pytest.mark.parametrize("random_start", [False, True])
def test_pgd_is_that_of_torchattacks(random_start, trained):
    torchattacks = pytest.importorskip("torchattacks")
    model, x, labels, _ = trained
    x, labels = x[:12], labels[:12]
    torch.manual_seed(5)
    theirs = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=10, random_start=random_start)(x, labels)
    torch.manual_seed(5)
    start = torch.empty_like(x).uniform_(-EPS, EPS) / EPS if random_start else None
    with attack_mode(model, 0):
        options = {"eps": EPS, "step_size": STEP, "steps": 10, "loss": cross_entropy_per_image}
        ours = signed_ascent(model, x, labels, **options, random_start=start)
        assert torch.equal(model(ours).argmax(1), model(theirs).argmax(1))
    # A gradient of about zero may have another sign, where sums are taken in another order.
    assert ((ours - theirs).abs() > 1e-6).float().mean() < 0.002
    assert (theirs - x).abs().max() > 0.9 * EPS


@pytest.fixture
def short(monkeypatch):
    """short(fab, square, apgd) -> the standard, and so that of every attack, with so many steps."""
    pyautoattack = pytest.importorskip("pyautoattack")

    def shorten(fab: int, square: int, apgd: int) -> type:
        class Short(pyautoattack.AutoAttack):
            def _set_version(self, version):
                super()._set_version(version)
                self.apgd.n_iter = self.apgd_targeted.n_iter = apgd
                self.fab.n_iter, self.square.n_queries = fab, square

        monkeypatch.setattr(pyautoattack, "AutoAttack", Short)
        return Short

    return shorten


@pytest.mark.slow
def test_autoattack_finds_no_less_than_pgd_20_and_leaves_no_trace(trained, short):
    short(fab=10, square=100, apgd=25)
    model, x, labels, indices = trained
    x, labels, indices = x[:6], labels[:6], indices[:6]
    state = torch.random.get_rng_state()
    robust = withstands(model, 0, x, labels, AttackSettings("autoattack", EPS, 0, 0), indices, seed=0)
    assert torch.equal(torch.random.get_rng_state(), state)
    pgd_20 = withstands(model, 0, x, labels, AttackSettings("pgd", EPS, STEP, 20), indices, seed=0)
    assert robust.sum() <= pgd_20.sum()
    with torch.no_grad():
        clean = model(x).argmax(1) == labels
    assert robust.sum() < clean.sum()
    assert not (robust & ~clean).any()
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
def test_autoattack_part_by_part_is_the_whole(short):
    standard = short(fab=5, square=20, apgd=5)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    x, indices = torch.rand(24, 3, 8, 8), torch.arange(5, 29)
    labels = model(x).argmax(1)
    labels[:2] += 1  # wrong without an attack
    labels %= 10
    settings = AttackSettings("autoattack", EPS, 0, 0)
    ours = settings.entry.withstood(settings, model, x, labels, indices, seed=7)
    with torch.random.fork_rng([]):
        _, predicted = standard(model, eps=EPS, seed=7 + 5).run_standard_evaluation(x, labels, batch_size=24)
    assert torch.equal(ours, predicted == labels)
    assert 0 < ours.sum() < 22


class Odd(nn.Module):
    """`model` with a fault."""

    def __init__(self, model: nn.Module, fault: str):
        super().__init__()
        self.model, self.fault = model, fault

    def forward(self, x):
        logits = self.model(x)
        if self.fault == "saturated":
            return 1e6 * logits
        return logits + torch.rand_like(logits) if self.fault == "random" else logits


def checked(model, trained, scale: float = 1) -> SelfChecks:
    _, x, labels, indices = trained
    return SelfChecks(**inspect(model, [{"clean": scale * x, "label": labels, "index": indices}], ALONE, [0]))


def test_a_sound_network_raises_no_warning(trained):
    found = checked(trained[0], trained)
    assert found.as_json() == {"images": 48, "out_of_range": 0, "unrepeatable": 0, "zero_gradients": {"0": 0}}
    attacks = {"fgsm": {"0": 50.0}, "pgd": {"0": 40.0}, "autoattack": {"0": 36.0}}
    assert warnings_of(found, {"CA": {"0": 90.0}, "attacks": attacks}, "heldout") == []


@pytest.mark.parametrize(
    ("fault", "scale", "word"),
    [("saturated", 1, "gradient vanishes on"), ("random", 1, "two equal calls"), ("none", 1.5, "leave [0, 1]")],
)
def test_faults_of_a_network_and_its_images_are_told(fault, scale, word, trained):
    (sentence,) = warnings_of(checked(Odd(trained[0], fault), trained, scale), {"CA": {"0": 90.0}}, None)
    assert word in sentence


@pytest.mark.parametrize(
    ("attacks", "words"),
    [
        ({"fgsm": 30, "pgd": 40}, ["PGD leaves 40.00 %, more than the 30.00 % that the weaker FGSM leaves"]),
        ({"pgd": 30, "autoattack": 30.5}, ["AutoAttack leaves 30.50 %, more than"]),
        ({"pgd": 95}, ["accuracy under PGD (95.00 %) is above clean accuracy (90.00 %)"]),
        ({"pgd": 40, "autoattack": 28}, ["far below PGD's 40.00 %: a sign of masked gradients"]),
        ({"pgd": 40, "autoattack": 36}, []),
        ({"pgd": 4, "autoattack": 0}, []),
    ],
)
def test_attacks_that_contradict_each_other_are_told(attacks, words, trained):
    found = checked(trained[0], trained)
    accuracy = {"CA": {"0": 90.0}, "attacks": {name: {"0": float(value)} for name, value in attacks.items()}}
    sentences = warnings_of(found, accuracy, "last")
    assert len(sentences) == len(words)
    assert all(word in sentence for word, sentence in zip(words, sentences, strict=True))


def test_a_model_chosen_on_the_test_set_is_told(trained):
    (sentence,) = warnings_of(checked(trained[0], trained), {"CA": {"0": 90.0}}, "test")
    assert "chosen on the test set" in sentence
