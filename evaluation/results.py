"""What every script reports of a network: reporting/results.py from the network itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attacks.attack import AttackSettings, attack_named
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
    dataset: str,
    branches: Sequence[int],
    attack: AttackSettings | None,
    accuracy: dict,
    seconds: float,
) -> dict:
    """`base_results` of `model`, of which `branches` were trained."""
    names = [*accuracy.get("attacks", {}), *([attack.name] if attack else [])]
    return base_results(
        script,
        record,
        model=model_name,
        dataset=dataset,
        image_size=model.spec.image_size,
        branches=model.spec.branches,
        trained_branches=branches,
        relus=describe_relus(model),
        weights=describe_weights(model),
        attack=attack.record() if attack else None,
        attack_titles={name: attack_named(name).title for name in names},
        accuracy=accuracy,
        processes=processes.count,
        device=processes.device.type,
        seconds=seconds,
    )
