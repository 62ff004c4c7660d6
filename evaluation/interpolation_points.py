"""What a one-branch network is worth, cheaply enough to be asked for many values of t."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from functools import partial
from statistics import mean

import numpy as np

from attacks.attack import AttackSettings
from dataset import DatasetSpec, ImageSource, Subset
from dataset.corrupted_sets import GeneratedSet, HeldSet
from dataset.corruptions import IMAGE_SIZES, load_frost
from evaluation.data import evenly_spaced
from evaluation.evaluation import Evaluation
from evaluation.measurements import Measurements
from helper.processes import Processes
from models.layers import Network
from reporting.tables import counted


class Points:
    """CA on all images of `judged`, AdvA and NPA on evenly spaced ones: --attack_images, --corrupt_images of them.

    `args` has corruptions and severities as lists. No NPA without corruptions, or for images of a size that has none.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        data: DatasetSpec,
        judged: ImageSource,
        attack: AttackSettings,
        measured: Measurements,
        processes: Processes,
    ):
        self.args, self.judged, self.attack = args, judged, attack
        self.attacked, self.chosen = (
            Subset(judged, evenly_spaced(np.arange(len(judged)), count))
            for count in (args.attack_images, args.corrupt_images)
        )
        self.corrupted = None
        if args.corruptions and data.image_size in IMAGE_SIZES:
            frost = load_frost(args.frost_dir, data.image_size)
            self.corrupted = HeldSet(GeneratedSet(data, self.chosen, args.severities, args.seed, frost))
        self.evaluation = partial(Evaluation, spec=data, measured=measured, processes=processes, args=args)

    def measure(self, network: Network, **about: object) -> dict[str, float]:
        """{'CA': %, 'NPA': %, 'AdvA': %} of a network of one branch; `about` tells it from others of its checkpoint."""
        evaluation = partial(self.evaluation, network, [0])
        point = {"CA": evaluation(source=self.judged, about=about).clean()["CA"]["0"]}
        if self.corrupted:
            spaced = evaluation(source=self.chosen, about={**about, "of all": len(self.judged)})
            rows = spaced.corruptions(self.corrupted, self.args.corruptions, self.args.severities)["0"]
            point["NPA"] = mean(mean(row) for row in counted(rows).values())
        spaced = evaluation(source=self.attacked, about={**about, "of all": len(self.judged)})
        return point | {"AdvA": spaced.attack(self.attack)["0"]}

    def describe(self) -> dict:
        """What the accuracies stand for."""
        most = self.args.limit_val_batches * self.args.batch_size if self.args.limit_val_batches else None
        sources = {"CA": self.judged, "NPA": self.corrupted and self.chosen, "AdvA": self.attacked}
        images = {metric: len(source) for metric, source in sources.items() if source}
        return {
            "measured_on": "heldout" if self.args.select_on == "heldout" else "test",
            "images": {metric: min(count, most or count) for metric, count in images.items()},
            "attack": self.attack.record(),
            "corrupted_images": asdict(self.corrupted.provenance) if self.corrupted else None,
            "corruptions": self.args.corruptions if self.corrupted else [],
            "severities": self.args.severities if self.corrupted else [],
        }
