"""What an attack is. `Attack`: an entry, all there is to know of one; `AttackSettings`: one that was chosen, settled.

One attack is one file of this folder, which holds its entry at the top level. Options, help, training, evaluation,
tables and figures ask the entry; no other file knows an attack by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from attacks.ascent import cross_entropy_per_image, sample_noise
from helper.errors import UserError
from helper.registry import discover

Logits = Callable[[Tensor], Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]
Start = Callable[[], Tensor]


@dataclass(frozen=True)
class Option:
    """An option of the command line that one attack has for itself: --`name`, parsed by `type`."""

    name: str
    type: Callable[[str], object]
    default: object
    help: str


@dataclass(frozen=True)
class AttackSettings:
    """An attack and its numbers; `eps` and `step_size` in units of the pixel range [0, 1], in the attack's norm.

    `restarts`: an evaluation tries that many random starts, and an image must withstand each of them. `own`: names and
    values of the options that this attack alone has.
    """

    name: str
    eps: float
    step_size: float
    steps: int
    restarts: int = 1
    own: tuple[tuple[str, object], ...] = ()

    @property
    def entry(self) -> Attack:
        return attack_named(self.name)

    def __call__(self, fn: Logits, x: Tensor, target: Tensor, *, loss: Loss, random_start: Start) -> Tensor:
        """Attacked images, (B, C, H, W) float32 in [0, 1], from one start.

        fn: images -> logits; loss: (logits, target) -> (B,), one value per image, whose images must not influence each
        other (eval mode). `random_start()` gives noise (`sample_noise`), and is asked where the attack has a random
        start. x is taken to lie in [0, 1], for looking means waiting for the device; `check_pixels` looks.
        """
        return self.entry.perturb(self, fn, x, target, loss=loss, random_start=random_start)

    def values(self) -> dict[str, object]:
        """What the figures under this attack depend on."""
        numbers = ("name", "eps", "step_size", "steps", "restarts")
        return {name: getattr(self, name) for name in numbers} | dict(self.own)

    def record(self) -> dict[str, object]:
        """What results say of the attack: its values, its title and its norm."""
        return self.values() | {"title": self.entry.title, "norm": self.entry.norm}


class Attack:
    """An attack as the rest of the house knows it. Entries set what differs, and define `perturb` or `withstood`.

    name, title: for the command line, and for people. norm: of the ball, 'Linf' or 'L2', as papers write it.
    strength: its rank among attacks of its norm; an evaluation runs all weaker ones first, and compares.
    summary: a few words in --help. eps, step_size: customary ones, taken where the options are not given.
    largest_eps: above it eps has no meaning.
    """

    name: str
    title: str
    norm: str = "Linf"
    strength: int
    summary: str
    eps: str = "8/255"
    step_size: str = "2/255"
    largest_eps: float = 1.0
    trains = True
    evaluates = True
    # One step, which a network can learn to withstand alone (catastrophic overfitting); training watches for it.
    single_step = False
    # Whether epochs of training against any attack of its norm are judged by it.
    judges = False
    # Whether its figure depends on which images make a batch.
    whole_batches = False
    # False for one that only tells which images withstand it.
    makes_images = True
    # Whether it also breaks networks whose gradients are masked, so that they are recognised by it.
    unmasks = False
    # Of one that is made of several, each on the images that withstood those before: their names, and how many passes
    # through the network each needs for an image, at most. An evaluation shows and keeps them one by one.
    parts: Mapping[str, int] = MappingProxyType({})
    options: tuple[Option, ...] = ()

    @property
    def order(self) -> tuple:
        return self.norm != Attack.norm, self.norm, self.strength

    def check(self) -> None:
        """Raise UserError where the attack cannot run on this machine."""

    def settle(self, eps: float, step_size: float, steps: int, restarts: int = 1, **own: object) -> AttackSettings:
        """The attack with these numbers, those that it has no use for left out. `own`: values of its own options."""
        if self.single_step:
            step_size, steps, restarts = eps, 1, 1
        return AttackSettings(self.name, eps, step_size, steps, restarts, tuple(own.items()))

    def perturb(
        self, settings: AttackSettings, fn: Logits, x: Tensor, target: Tensor, *, loss: Loss, random_start: Start
    ) -> Tensor:
        """`AttackSettings.__call__`. Must never wait for the device, so that it can be recorded as a CUDA graph."""
        raise NotImplementedError(f"{self.name} makes no images")

    def withstood(
        self, settings: AttackSettings, model: nn.Module, x: Tensor, labels: Tensor, indices: Tensor, seed: int
    ) -> Tensor:
        """bool (B,): the images of x (B, C, H, W) that `model`, in `attack_mode`, gets right after every restart.

        indices: (B,), the images' numbers. An image that one restart broke is not attacked again: the answer is the
        same, and that is where the time goes. The first one takes all images, also those that are wrong without an
        attack, so that an attack that helps is seen.
        """
        right = torch.ones_like(labels, dtype=torch.bool)
        for restart in range(settings.restarts):
            rows = right.nonzero().squeeze(1)
            if not len(rows):
                break
            images = x[rows].contiguous(memory_format=torch.channels_last)
            noise = partial(sample_noise, indices[rows], x.shape[1:], seed, restart)
            x_adv = settings(model, images, labels[rows], loss=cross_entropy_per_image, random_start=noise)
            with torch.no_grad():
                right[rows] = model(x_adv).argmax(1) == labels[rows]
        return right

    def withstood_part(
        self,
        part: str,
        settings: AttackSettings,
        model: nn.Module,
        x: Tensor,
        labels: Tensor,
        standing: Tensor,
        indices: Tensor,
        seed: int,
    ) -> Tensor:
        """Of the images that are `standing`, bool (B,), those that also withstand `part`; else as `withstood`."""
        raise NotImplementedError(f"{self.name} has no parts")


@cache
def attacks() -> dict[str, Attack]:
    """All attacks by their names: norm by norm, the weakest first."""
    return discover("attacks", Attack)


def attack_named(name: str) -> Attack:
    try:
        return attacks()[name]
    except KeyError:
        raise UserError(f"no attack is called {name}; there are {', '.join(attacks())}") from None


def up_to(attack: Attack) -> list[Attack]:
    """The attacks that an evaluation runs for `attack`: all weaker ones of its norm, and it."""
    return [
        other
        for other in attacks().values()
        if other is attack or (other.evaluates and other.norm == attack.norm and other.strength < attack.strength)
    ]


def judge_of(attack: Attack) -> Attack:
    """What judges the epochs of training against `attack`: one step says little about robustness."""
    return next((other for other in attacks().values() if other.judges and other.norm == attack.norm), attack)
