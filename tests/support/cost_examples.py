"""Costs of private inference as a measurement would write them."""

from __future__ import annotations

from formats.private_costs import SCHEMA, MeasuredCosts, PrivateCosts
from private_inference.engine.cost import Cost, Costs, StepCost

RELU_BYTES, RELU_ROUNDS, RELUS = 144, 8, 188_416  # of a comparison, of a layer that compares, of resnet20
ONE_OFF = Cost(1000, 500, 2, 0.5)  # what the first convolution pays for the first image
SMALL = Costs(
    (
        StepCost("normalize", "shift", 0, Cost(seconds=0.25), Cost(seconds=0.125)),
        StepCost("conv1", "conv", 0, Cost(3000, 1000, 2, 1.0), Cost(2000, 1000, 1, 0.5)),
        StepCost("relu", "relu", 10, Cost(700, 740, 8, 0.5), Cost(700, 740, 8, 0.25)),
        StepCost("maxpool", "max_pool", 6, Cost(60, 40, 16, 0.125), Cost(60, 40, 16, 0.0625)),
        StepCost("flatten", "flatten", 0, Cost(), Cost()),
        StepCost("fc", "linear", 0, Cost(500, 20, 1, 0.25), Cost(500, 20, 1, 0.125)),
        StepCost("logits", "output", 0, Cost(0, 80, 1, 0.0), Cost(0, 80, 1, 0.0)),
    )
)


def resnet20_costs(kept: int, warm: bool = True, blocks: int = 3) -> Costs:
    """Steps as those of resnet20 (with more blocks a stage: of deeper ones); every layer keeps its share of `kept`."""
    steps = [StepCost("normalize", "shift", 0, Cost(seconds=0.001), Cost(seconds=0.001))]
    relus = []

    def conv(layer: str, inputs: int, outputs: int) -> None:
        cost = Cost(8 * inputs, 8 * (inputs + outputs), 1, 1e-6 * inputs)
        steps.append(StepCost(layer, "conv", 0, cost + ONE_OFF if layer == "conv1" else cost, cost))

    def relu(layer: str, size: int) -> None:
        relus.append((len(steps), size))
        steps.append(StepCost(layer, "relu", 0, Cost(), Cost()))

    conv("conv1", 3072, 16_384)
    relu("relu", 16_384)
    for stage, size in ((1, 16_384), (2, 8192), (3, 4096)):
        for block in range(blocks):
            name = f"layer{stage}.{block}"
            conv(f"{name}.conv1", size, size)
            relu(f"{name}.relu1", size)
            conv(f"{name}.conv2", size, size)
            if stage > 1 and block == 0:
                conv(f"{name}.downsample.0", 2 * size, size)
            steps.append(StepCost("add", "add", 0, Cost(), Cost()))
            relu(f"{name}.relu2", size)
    steps.append(StepCost("avgpool", "average_pool", 0, Cost(seconds=0.002), Cost(seconds=0.002)))
    steps.append(StepCost("flatten", "flatten", 0, Cost(), Cost()))
    conv("fc", 64, 10)
    steps[-1] = StepCost("fc", "linear", 0, steps[-1].cold, steps[-1].warm)
    steps.append(StepCost("logits", "output", 0, Cost(0, 80, 1), Cost(0, 80, 1)))

    left, places = kept, sum(size for _, size in relus)
    for at, size in relus:
        compared = round(left * size / places)
        left, places = left - compared, places - size
        half = RELU_BYTES // 2 * compared
        cost = Cost(half, half, RELU_ROUNDS, 2e-5 * compared) if compared else Cost()
        steps[at] = StepCost(steps[at].layer, "relu", compared, cost, cost)
    if not warm:
        steps = [StepCost(step.layer, step.kind, step.comparisons, step.cold) for step in steps]
    return Costs(tuple(steps))


def measured_of(costs: Costs, kept: int, **changes) -> MeasuredCosts:
    found = {
        "file": f"save/{kept}.pth",
        "label": f"Customresnet20, {kept:,} ReLUs",
        "model": "Customresnet20",
        "dataset": "cifar10",
        "branch": 0,
        "stage": 2,
        "relus": {"kept": kept, "total": RELUS},
        "digest": "00",
        "fused": [],
        "accuracy": {"source": "validation", "images": 10_000, "CA": 59.8, "NPA": None, "AdvA": 21.55},
        "setup_seconds": 4.25,
        "agreement": {"images": 100, "same_class": 99, "largest_logit_error": 0.0003, "right": 61},
        "costs": costs.as_json(),
        "estimates": [{"name": "wan", "bandwidth": 1e8, "rtt": 0.04, "seconds": {"cold": 81.0, "warm": 35.25}}],
    }
    return MeasuredCosts.model_validate(found | changes)


def results_of(*every: MeasuredCosts, images: int = 100, **changes) -> PrivateCosts:
    """A private_inference.json, of SEMI2K with a dealer over loopback."""
    results = {
        "schema": SCHEMA,
        "engine": {"name": "SPU", "version": "0.9.5", "protocol": "semi2k", "field_bits": 64, "dealer": True},
        "machine": {"processor": "A processor", "cores": 2, "system": "Linux"},
        "link": {"kind": "loopback", "name": None, "bandwidth": None, "rtt": None},
        "images": images,
        "measured": every,
    }
    return PrivateCosts.model_validate(results | changes)


def budgets(*kept: int, warm: bool = True) -> PrivateCosts:
    return results_of(*(measured_of(resnet20_costs(n, warm), n) for n in kept), images=100 if warm else 1)
