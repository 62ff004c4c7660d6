"""What private inference costs: bytes each way, rounds and seconds, per step, by part of the network and in all.

Plain Python: the two parties, which run without PyTorch, measure in these terms too.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from formats.private_costs import CostRecord, CostsRecord, StepCostRecord

# The parts that are reported apart, and the kinds of steps (program/steps.py) that make them up. 'rest' also holds
# 'output', the opening of the logits to the client. 'preparing' is no step of the network: what the parties set up
# once, and correlations that they make ahead, in bursts, for comparisons still to come.
PARTS: dict[str, tuple[str, ...]] = {
    "linear": ("conv", "linear", "affine"),
    "relu": ("relu",),
    "rest": ("shift", "add", "average_pool", "max_pool", "flatten", "output"),
    "preparing": ("set_up", "correlations"),
}


def part_of(kind: str) -> str:
    return next(part for part, kinds in PARTS.items() if kind in kinds)


@dataclass(frozen=True)
class Cost:
    """Of one image. A mean over images may have fractions.

    `upload` is what the client sends to the server, `download` the way back, in bytes. A round is one message that has
    to arrive before the next can be sent, or two that cross: it costs one way through the network, half a round trip.
    `settle_rounds` says how they are counted.
    """

    upload: float = 0
    download: float = 0
    rounds: float = 0
    seconds: float = 0.0

    @property
    def bytes(self) -> float:
        """Both directions."""
        return self.upload + self.download

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(mine + theirs for mine, theirs in zip(self.values(), other.values(), strict=True)))

    def over(self, count: int) -> Cost:
        """The share of each of `count`."""
        return Cost(*(value / count for value in self.values()))

    def values(self) -> tuple[float, float, float, float]:
        return self.upload, self.download, self.rounds, self.seconds


def settle_rounds(
    protocols: Sequence[Hashable], runs: Sequence[Sequence[Cost]], known: Mapping[Hashable, float] | None = None
) -> list[list[Cost]]:
    """The costs of every run and step, whose `rounds` were messages in the direction that has fewer, with rounds.

    `protocols` says of each step what the parties do in it, `known` what such a step took elsewhere, on few values:
    several threads cut a message about many into as many, which do not wait for each other. It takes as many rounds
    however many values it is about: the fewest messages that it ever took. More are bursts that go out at once.
    Measured over an emulated link of 100 ms round trip: products with the server's weights of 2 to 4 messages each way
    took .06 s beside the time of their bytes, those of 45 to 649 took .33 s, at most six crossings; and 1,281 messages,
    with which CHEETAH now and then makes correlations for later comparisons, two. What is exchanged once is counted in
    bytes and seconds only.
    """
    fewest: dict[Hashable, float] = dict(known or {})
    for run in runs:
        for protocol, cost in zip(protocols, run, strict=True):
            fewest[protocol] = min(cost.rounds, fewest.get(protocol, cost.rounds))
    return [
        [replace(cost, rounds=fewest[protocol]) for protocol, cost in zip(protocols, run, strict=True)] for run in runs
    ]


def total(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost())


def split_bursts(runs: Sequence[Sequence[Cost]]) -> tuple[list[list[Cost]], list[Cost]]:
    """(every run's steps without bursts, the bursts of every run together); `rounds` are messages.

    Cheetah consumes correlations at every comparison and makes new ones in bursts, wherever it runs out: in a step that
    then takes more messages than in another run. What such a step sends beyond its cheapest run is a burst's. Their
    seconds stay with the step.
    """
    floors = [
        (min(cost.upload for cost in step), min(cost.download for cost in step), min(cost.rounds for cost in step))
        for step in zip(*runs, strict=True)
    ]
    steps: list[list[Cost]] = []
    bursts = []
    for run in runs:
        steps.append([])
        burst = Cost()
        for cost, (upload, download, messages) in zip(run, floors, strict=True):
            if cost.rounds > messages:
                burst += Cost(cost.upload - upload, cost.download - download)
                cost = replace(cost, upload=upload, download=download)
            steps[-1].append(cost)
        bursts.append(burst)
    return steps, bursts


def mean(costs: Sequence[Cost]) -> Cost | None:
    return total(costs).over(len(costs)) if costs else None


@dataclass(frozen=True)
class StepCost:
    """One step of the program, the 'output', or what prepares them. `comparisons`: how many it makes per image.

    `cold` is an image's of the first batch, `warm` the mean over all later ones, None where there were none. What the
    parties set up once is a step too, the first batch's alone.
    """

    layer: str
    kind: str
    comparisons: int
    cold: Cost
    warm: Cost | None = None

    @property
    def part(self) -> str:
        return part_of(self.kind)

    def at(self, state: str) -> Cost:
        """`state` is 'cold' or 'warm'; where only one image was run, there is only a cold one."""
        return self.warm if state == "warm" and self.warm is not None else self.cold


@dataclass(frozen=True)
class Costs:
    """Of a whole network, step by step in order."""

    steps: tuple[StepCost, ...]
    states: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        warm = all(step.warm is not None for step in self.steps)
        object.__setattr__(self, "states", ("cold", "warm") if warm else ("cold",))

    def total(self, state: str) -> Cost:
        return total(step.at(state) for step in self.steps)

    def part(self, name: str, state: str) -> Cost:
        return total(step.at(state) for step in self.steps if step.part == name)

    @property
    def set_up(self) -> Cost | None:
        """What the parties set up once; None where that is nothing, or is not known apart from the first image."""
        return next((step.cold for step in self.steps if step.kind == "set_up"), None)

    def as_json(self) -> dict:
        """{'layers': [...], 'parts': {state: {part: cost}}, 'total': {state: cost}}; read back by `from_record`."""
        return {
            "layers": [{**asdict(step), "part": step.part} for step in self.steps],
            "parts": {state: {part: asdict(self.part(part, state)) for part in PARTS} for state in self.states},
            "total": {state: asdict(self.total(state)) for state in self.states},
        }

    @classmethod
    def from_record(cls, record: CostsRecord) -> Costs:
        def cost(known: CostRecord) -> Cost:
            return Cost(known.upload, known.download, known.rounds, known.seconds)

        def read(step: StepCostRecord) -> StepCost:
            warm = cost(step.warm) if step.warm else None
            return StepCost(step.layer, step.kind, step.comparisons, cost(step.cold), warm)

        return cls(tuple(map(read, record.layers)))


def priced(
    names: Sequence[tuple[str, str, int]],
    protocols: Sequence[Hashable],
    runs: Sequence[Sequence[Cost]],
    batch: int,
    set_up: Cost,
    known: Mapping[Hashable, float] | None = None,
) -> Costs:
    """The costs of an image from those of all runs, each of a `batch`, and of what was set up before the first one.

    `names` are (layer, kind, comparisons per image) of every step, `protocols` and `known` as in `settle_rounds`.
    """
    apart, bursts = split_bursts(runs)
    settled = settle_rounds(protocols, apart, known)
    found = []
    for (layer, kind, count), costs in zip(names, zip(*settled, strict=True), strict=True):
        cold, *later = (cost.over(batch) for cost in costs)
        found.append(StepCost(layer, kind, count if kind in ("relu", "max_pool") else 0, cold, mean(later)))
    first, *others = (burst.over(batch) for burst in bursts)
    if total(bursts).bytes:
        found.append(StepCost("correlations made ahead", "correlations", 0, first, mean(others)))
    if set_up.bytes:  # its messages do not wait for each other, so they are no rounds
        once = replace(set_up, rounds=0)
        found.append(StepCost("set-up, once", "set_up", 0, once, Cost() if others else None))
    return Costs(tuple(found))
