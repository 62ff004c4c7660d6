"""What a one-branch network is worth, cheaply enough to be asked for many values of t."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from statistics import mean

import numpy as np

from dataset import ImageSource, Subset
from dataset.corrupted_sets import HeldSet
from dataset.corruptions import IMAGE_SIZES
from evaluation.data import evenly_spaced, find_corrupted
from evaluation.evaluation import Evaluation
from evaluation.interpolation_plan import InterpolationPlan
from evaluation.measurements import Measurements
from helper.processes import Processes
from models.layers import Network
from reporting.tables import counted


class Points:
    """CA on all images of `judged`, AdvA and NPA on as many evenly spaced ones as the plan says.

    No NPA without corruptions, or for images of a size that has none.
    """

    def __init__(self, plan: InterpolationPlan, judged: ImageSource, measured: Measurements, processes: Processes):
        self.plan, self.judged = plan, judged
        self.attacked, self.chosen = (
            Subset(judged, evenly_spaced(np.arange(len(judged)), count))
            for count in (plan.attack_images, plan.corrupt_images)
        )
        self.corrupted: HeldSet | None = None
        if plan.corruptions.names and plan.data.image_size in IMAGE_SIZES:
            made, _ = find_corrupted(plan.corruptions, plan.images, plan.data, self.chosen, plan.seed)
            self.corrupted = HeldSet(made) if made else None
        self.evaluation = partial(
            Evaluation, spec=plan.data, measured=measured, processes=processes, images=plan.images, seed=plan.seed
        )

    def measure(self, network: Network, **about: object) -> dict[str, float]:
        """{'CA': %, 'NPA': %, 'AdvA': %} of a network of one branch; `about` tells it from others of its checkpoint."""
        evaluation = partial(self.evaluation, network, [0])
        point = {"CA": evaluation(source=self.judged, about=about).clean()["CA"]["0"]}
        if self.corrupted:
            spaced = evaluation(source=self.chosen, about={**about, "of all": len(self.judged)})
            rows = spaced.corruptions(self.corrupted, self.plan.corruptions.names, self.plan.corruptions.severities)[
                "0"
            ]
            point["NPA"] = mean(mean(row) for row in counted(rows).values())
        spaced = evaluation(source=self.attacked, about={**about, "of all": len(self.judged)})
        return point | {"AdvA": spaced.attack(self.plan.attack)["0"]}

    def describe(self) -> dict:
        """What the accuracies stand for."""
        images, corruptions = self.plan.images, self.plan.corruptions
        most = images.limit_val_batches * images.batch_size if images.limit_val_batches else None
        sources = {"CA": self.judged, "NPA": self.corrupted and self.chosen, "AdvA": self.attacked}
        counts = {metric: len(source) for metric, source in sources.items() if source}
        return {
            "measured_on": "heldout" if images.select_on == "heldout" else "test",
            "images": {metric: min(count, most or count) for metric, count in counts.items()},
            "attack": self.plan.attack.record(),
            "corrupted_images": asdict(self.corrupted.provenance) if self.corrupted else None,
            "corruptions": list(corruptions.names) if self.corrupted else [],
            "severities": list(corruptions.severities) if self.corrupted else [],
        }
