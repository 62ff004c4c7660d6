"""What every script reports of a network: reporting/results.py from the network itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attacks.attack import AttackSettings, attack_named
from formats.measured import Accuracy, AttackRecord, Kept
from formats.results import Results
from helper.processes import Processes
from masks.counting import describe_relus
from models.layers import Network
from models.weights import describe_weights
from reporting.results import base_results


def network_results(
    script: str,
    record: Mapping[str, object],
    processes: Processes,
    model: Network,
    *,
    model_name: str,
    branches: Sequence[int],
    attack: AttackSettings | None,
    accuracy: Accuracy,
    **more: Any,
) -> Results:
    """`base_results` of `model`, of which `branches` were trained."""
    names = [*(accuracy.attacks or {}), *([attack.name] if attack else [])]
    weights = describe_weights(model)
    return base_results(
        script,
        record,
        model=model_name,
        image_size=model.spec.image_size,
        branches=model.spec.branches,
        trained_branches=tuple(branches),
        relus=Kept(**describe_relus(model)),
        attack=AttackRecord.model_validate(attack.record()) if attack else None,
        attack_titles={name: attack_named(name).title for name in names},
        accuracy=accuracy,
        processes=processes.count,
        device=processes.device.type,
        **{"weights": Kept(**weights) if weights else None, **more},
    )
