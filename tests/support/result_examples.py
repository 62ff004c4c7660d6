"""Results and epochs to draw figures and pages of."""

from __future__ import annotations

from typing import Any

from formats.log import LOG_SCHEMA, Epoch
from formats.results import SCHEMA, Results

NAMES = ("gaussian_noise", "zoom_blur", "frost", "jpeg_compression")
PGD = {"name": "pgd", "eps": 8 / 255, "step_size": 2 / 255, "steps": 20, "restarts": 1}


def content_of(
    kept: int = 60, branches: tuple[int, ...] = (0, 1), corruptions: bool = True, layers: int = 3, **changes: object
) -> dict[str, Any]:
    """What a results.json from before attacks had titles says; no two accuracies are alike."""
    accuracy: dict[str, Any] = {"images": 100, "CA": {str(b): 90.0 - b for b in branches}, "AdvA": {}}
    if corruptions:
        accuracy["corruptions"] = {
            str(b): {name: [80.5 - 10 * n - s - b / 4 for s in range(5)] for n, name in enumerate(NAMES)}
            for b in branches
        }
    sites = [{"layer": f"layer{n}.relu", "shape": [1, 10, 10], "total": 100, "kept": kept} for n in range(layers)]
    return {
        "schema": SCHEMA,
        "script": "validate_common_corruptions.py",
        "model": "resnet8",
        "dataset": "digits",
        "image_size": 32,
        "branches": len(branches),
        "attack": PGD,
        "accuracy": accuracy,
        "oracle": {"CA": 90.0},
        "single_branch": {"branch": branches[0], "CA": 90.0},
        "relus": {"kept": kept * layers, "total": 100 * layers, "layers": sites},
        "warnings": [],
        "args": {"seed": 0},
        **changes,
    }


def results_of(**changes: Any) -> Results:
    return Results(**content_of(**changes))


def record_of(epoch: int, **more: object) -> dict[str, Any]:
    losses = {"loss": 1 / epoch, "learning_rate": 0.1, "ce_clean": 0.5 / epoch, "accuracy_clean": 90.0}
    return {"schema": LOG_SCHEMA, "epoch": epoch, **losses, "TA": {"0": 80.0}, "ATA": {}, **more}


def epoch_of(number: int, **more: object) -> Epoch:
    return Epoch(**record_of(number, **more))
