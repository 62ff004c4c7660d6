"""What an evaluation says to people before it begins."""

from __future__ import annotations

from dataset import ImageSource
from dataset.corrupted_sets import CorruptedSet
from evaluation.plan import EvaluationPlan
from formats.measured import AttackRecord
from helper.processes import Processes, device_in_words
from helper.text import count
from reporting.comparability import attack_in_words
from reporting.tables import origin_in_words


def opening(plan: EvaluationPlan, source: ImageSource, corrupted: CorruptedSet | None, processes: Processes) -> str:
    """One line: network, data, branches, images, attacks, corruptions, device."""
    where = "held-out" if plan.images.select_on == "heldout" else "test"
    attacks = [attack_in_words(AttackRecord.model_validate(attack.record())) for attack in plan.attacks]
    parts = [
        f"evaluation: {plan.model} on {plan.data.name}, {count(len(plan.branches), 'trained branch')}",
        f"{len(source):,} {where} images"
        + (f", the first {count(limit, 'batch')}" if (limit := plan.images.limit_val_batches) else ""),
        ", ".join(attacks) or "no attack",
    ]
    if corrupted:
        named, steps = plan.corruptions.names, plan.corruptions.severities
        origin = origin_in_words(corrupted.provenance.record())
        severities = f"{len(steps)} severities" if len(steps) > 1 else f"severity {steps[0]}"
        parts.append(f"{count(len(named), 'corruption')} at {severities}, {origin}")
    return "; ".join([*parts, f"{device_in_words(processes)}, float32"])
