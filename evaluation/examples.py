"""A few test images as a network sees them: clean, AugMix, attacked and corrupted, with what it says to each."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.attack import AttackSettings
from attacks.mode import attack_mode
from dataset import DatasetSpec, ImageSource
from dataset.augmix import augmix
from dataset.corrupted_sets import CorruptedSet
from dataset.loaders import plain, to_tensor
from helper.precision import full_precision
from models.branches import trained_branch_of
from models.layers import Network, use_branch
from reporting.image_figures import Example
from reporting.tables import corruption_title

IMAGES = 6
CORRUPTED = (("gaussian_noise", 3), ("fog", 3), ("jpeg_compression", 3))


def first_of_classes(labels: np.ndarray, count: int) -> list[int]:
    """Places of the first image of each of `count` classes, evenly spread over the classes."""
    present = np.unique(labels)
    chosen = present[np.linspace(0, len(present) - 1, min(count, len(present))).round().astype(int)]
    return sorted(int(np.flatnonzero(labels == label)[0]) for label in chosen)


def example_columns(
    model: Network,
    trained: Sequence[int],
    spec: DatasetSpec,
    source: ImageSource,
    *,
    attack: AttackSettings | None,
    corrupted: CorruptedSet | None,
    corruptions: Sequence[str],
    seed: int,
    device: torch.device,
) -> tuple[list[str], list[Example]]:
    """(true labels, one column a view) for some images of `source`; each view through the branch of its training.

    `corruptions` are those that `corrupted` has. AugMix and the attack draw from `seed`.
    """
    indices = first_of_classes(source.labels, IMAGES)
    labels = torch.as_tensor(source.labels[indices], device=device)
    pictures = [plain(image, spec) for image in source.batch(indices)]
    clean = torch.stack([to_tensor(np.asarray(picture)) for picture in pictures]).to(device)
    rng = np.random.default_rng(seed)
    columns = []

    def branch_for(view: str) -> int:
        return trained_branch_of(view, model.spec.branches, trained)

    def add(title: str, view: str, images: Tensor) -> None:
        with torch.no_grad(), use_branch(model, branch_for(view)):
            said = model(images).argmax(1)
        names = [class_name(source, int(label)) for label in said]
        columns.append(Example(title, images.cpu().numpy(), names, (said == labels).tolist()))

    with full_precision():
        add("Clean", "clean", clean)
        add("AugMix", "aug", torch.stack([to_tensor(augmix(picture, rng)) for picture in pictures]).to(device))
        if attack and attack.entry.makes_images:
            with attack_mode(model, branch_for("adv")):
                noise = partial(sample_noise, torch.as_tensor(indices, device=device), clean.shape[1:], seed, 0)
                x_adv = attack(model, clean, labels, loss=cross_entropy_per_image, random_start=noise)
            add(attack.entry.title, "adv", x_adv)
        for name, severity in CORRUPTED:
            if corrupted and name in corruptions and severity in corrupted.severities:
                found = corrupted.source(name, severity)
                if np.array_equal(found.labels, source.labels):  # it is in the order of `source`
                    images = [to_tensor(np.asarray(picture)) for picture in found.batch(indices)]
                    title = f"{corruption_title(name, None)}\nseverity {severity}"
                    add(title, "clean", torch.stack(images).to(device))
    return [class_name(source, label) for label in source.labels[indices]], columns


def class_name(source: ImageSource, label: int) -> str:
    return source.classes[label] if label < len(source.classes) else f"class {label}"
