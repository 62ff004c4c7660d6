"""The reference of bench_train: the steps of the three stages with two batch-norm branches as plain code has them.

Float32, kernel by kernel; a forward pass for every view; an attack that calls backward(), and so computes the weights'
gradients too and throws them away, unless `frozen`. What it computes is what training/step.py computes: bench_train
holds the losses against each other.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.attack import AttackSettings
from distiller_zoo.attention import ENTRY as ATTENTION
from distiller_zoo.attention import attention_loss
from distiller_zoo.kd import kl_divergence
from distiller_zoo.modes import Weights
from masks.watching import site_maps
from models.layers import Network, use_branch

CLEAN_BRANCH, ADV_BRANCH = 0, 1
Answer = tuple[Tensor, list[Tensor], dict[str, Tensor]]  # logits, features, maps at the ReLU sites


class PlainStep:
    """`step(batch)` updates `student`, and returns the loss. `stage` is 0 (no teacher), 1 or 2."""

    def __init__(
        self,
        stage: int,
        student: Network,
        teacher: Network | None,
        attack: AttackSettings,
        *,
        rate: float,
        frozen: bool,
    ):
        self.stage, self.student, self.teacher, self.attack, self.frozen = stage, student, teacher, attack, frozen
        self.optimizer = torch.optim.SGD(student.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)
        self.sums: dict[str, Tensor] = {}

    def __call__(self, batch: Mapping[str, Tensor]) -> Tensor:
        half = len(batch["label"]) // 2
        clean, aug, attacked = batch["clean"][:half], batch["aug"][:half], batch["clean"][half:]
        labels, attacked_labels = batch["label"][:half], batch["label"][half:]
        taught: Answer | None = None
        attacked_target = attacked_labels
        if self.teacher:
            taught, attacked_target = self.ask_teacher(clean), self.ask_teacher(attacked)[0]
        adv = self.attack_images(attacked, attacked_target, batch["index"][half:])

        self.student.train()
        with site_maps(self.student, before_relu=True) as maps:
            answers = {"clean": self.forward(clean, CLEAN_BRANCH)}
        if taught and self.stage == 1:
            for name, own in maps.items():
                self.sums[name] = self.sums.get(name, 0) + (taught[2][name] - own).abs().sum(0)
        maps.clear()
        answers["aug"] = self.forward(aug, CLEAN_BRANCH)
        answers["adv"] = self.forward(adv, ADV_BRANCH)
        loss = self.loss(answers, labels, attacked_labels, taught, attacked_target, aug)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def forward(self, images: Tensor, branch: int) -> tuple[Tensor, list[Tensor]]:
        with use_branch(self.student, branch):
            return self.student.forward_features(images)

    @torch.no_grad()
    def ask_teacher(self, images: Tensor) -> Answer:
        assert self.teacher is not None
        with site_maps(self.teacher) as maps, use_branch(self.teacher, CLEAN_BRANCH):
            return *self.teacher.forward_features(images), maps

    def attack_images(self, x: Tensor, target: Tensor, indices: Tensor) -> Tensor:
        attack, weights = self.attack, Weights()
        self.student.eval().requires_grad_(not self.frozen)
        start = x + attack.eps * sample_noise(indices, x.shape[1:], 0, 0)
        lower, upper = (x - attack.eps).clamp(min=0), (x + attack.eps).clamp(max=1)
        x_adv = start.clamp(lower, upper)
        for _ in range(attack.steps):
            x_adv = x_adv.detach().requires_grad_()
            logits = self.forward(x_adv, ADV_BRANCH)[0]
            if self.teacher:
                kl_divergence(logits, target, weights.temperature).sum().backward()
            else:
                cross_entropy_per_image(logits, target).sum().backward()
            assert x_adv.grad is not None
            x_adv = (x_adv + attack.step_size * x_adv.grad.sign()).clamp(lower, upper)
        self.student.requires_grad_(True)
        return x_adv.detach()

    def loss(
        self,
        answers: Mapping[str, tuple[Tensor, list[Tensor]]],
        labels: Tensor,
        attacked_labels: Tensor,
        taught: Answer | None,
        attacked_target: Tensor,
        aug: Tensor,
    ) -> Tensor:
        weights = Weights()
        of_view = {"clean": labels, "aug": labels, "adv": attacked_labels}
        entropy = torch.stack([F.cross_entropy(answers[view][0], of_view[view]) for view in of_view]).mean()
        if taught is None:
            return entropy
        of_view = {"clean": taught[0], "aug": taught[0], "adv": attacked_target}
        divergences = [kl_divergence(answers[view][0], of_view[view], weights.temperature).mean() for view in of_view]
        loss = weights.gamma * entropy + weights.alpha * torch.stack(divergences).mean()
        if self.stage == 2:
            maps = {"clean": taught[1], "aug": self.ask_teacher(aug)[1]}
            attention = torch.stack([attention_loss(answers[view][1], maps[view]) for view in maps]).mean()
            loss = loss + ATTENTION.weight.default * attention
        return loss
