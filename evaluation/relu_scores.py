"""How much every ReLU of a trained network does, on a few images and without training: budgets in seconds rank by it.

It is what the default mask search (masks/feature_gap.py) sees in its first step, where a student has its teacher's
weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from attacks.ascent import cross_entropy_per_image, sample_noise
from attacks.attack import AttackSettings
from attacks.mode import attack_mode
from dataset import DatasetSpec, heldout_split
from dataset.loaders import Loader, train_loader
from dataset.options import DataSettings
from evaluation.data import evenly_spaced, read_split
from helper.placement import to_device
from helper.precision import full_precision
from helper.processes import Processes, bar_options
from masks.watching import site_maps
from models.branches import branch_of
from models.layers import Network, relu_sites

SCORED_IMAGES = 512


def scoring_loader(
    images: DataSettings, spec: DatasetSpec, processes: Processes, views: Sequence[str], *, count: int, seed: int
) -> Loader:
    """`count` evenly spaced training images, none of them held out, as training sees them; for one process alone."""
    training = read_split(images, spec, processes, train=True)
    indices = evenly_spaced(heldout_split(training.labels)[0], count)
    batch = min(images.batch_size, len(indices))
    augment = "augmix" if "aug" in views else "none"
    return train_loader(
        training, indices, spec, seed=seed, batch_size=batch, augment=augment, workers=images.num_workers
    )


def relu_scores(
    network: Network,
    loader: Loader,
    processes: Processes,
    *,
    views: Sequence[str],
    attack: AttackSettings | None,
    seed: int,
) -> dict[str, Tensor]:
    """{site: (C, H, W) float64 on the CPU}: the mean of |relu(x) - x| over images, and over views, each in its branch.

    x is what enters the site. `attack`: against labels, where 'adv' is among the views. Leaves the network as it was.
    """
    sums = {name: torch.zeros(site.map_shape, dtype=torch.float64) for name, site in relu_sites(network).items()}
    seen = 0
    bar = tqdm(loader, desc="what each ReLU does", unit="batch", **bar_options(processes))
    with full_precision(), bar:
        for batch in to_device(bar, processes.device):
            seen += len(batch["label"])
            for view in views:
                with attack_mode(network, branch_of(view, network.spec.branches)) as model:
                    x = _attacked(model, batch, attack, seed) if view == "adv" else batch[view]
                    with torch.no_grad(), site_maps(network, before_relu=True) as maps:
                        model(x)
                for name, entering in maps.items():
                    sums[name] += (-entering).clamp(min=0).sum(0).double().cpu()
    return {name: total / (seen * len(views)) for name, total in sums.items()}


def _attacked(model: torch.nn.Module, batch: dict[str, Tensor], attack: AttackSettings | None, seed: int) -> Tensor:
    assert attack is not None  # the adversarial view is its
    x, labels = batch["clean"], batch["label"]
    noise = partial(sample_noise, batch["index"], x.shape[1:], seed, 0)
    return attack(model, x, labels, loss=cross_entropy_per_image, random_start=noise)
