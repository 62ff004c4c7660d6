"""What private inference of an image costs, from private_inference.json and estimate.json, for a page of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from formats.private_costs import AccuracySource, Estimates, KnownNetwork, PrivateCosts
from formats.results import Results
from helper.files import real_path
from reporting.cells import Share
from reporting.tables import METRICS

MEASURED, ESTIMATED = "measured", "estimated"
SOURCES: dict[AccuracySource, str] = {
    "validation": "evaluated",
    "training": "held-out, in training",
    "training_test": "test, in training",
}
LINKS = {"loopback": "this machine", "own_machine": "this machine", "network": "a network"}


@dataclass(frozen=True)
class PrivateCost:
    """One network under one protocol over one link: bytes both ways, rounds and seconds of an image after the first.

    `how`: measured, or estimated from constants or from what was measured without that link. `sha256`: of the file.
    `accuracy`: in the clear, through that branch, `measured_on` so many images.
    """

    file: str
    sha256: str | None
    branch: int
    relus: int
    accuracy: Mapping[str, Share]
    measured_on: str | None
    protocol: str
    link: str
    how: str
    bytes: float
    rounds: float
    seconds: float

    @property
    def kind(self) -> tuple[str, str, str]:
        """What must agree where seconds are compared."""
        return self.protocol, self.link, self.how


def measured_costs(content: PrivateCosts) -> Iterator[PrivateCost]:
    """Those of a private_inference.json: over the link of the measurement, and over the links it estimates for."""
    protocol, link = content.engine.protocol, content.link
    where = f"{link.name or 'a link'}, emulated" if link.kind == "emulated" else LINKS[link.kind]
    for record in content.measured:
        spent = record.costs.repeated
        size = (spent.upload + spent.download, spent.rounds)
        yield _cost(record, protocol, where, MEASURED, *size, spent.seconds)
        for found in record.estimates:
            if (seconds := found.at(record.costs.state)) is not None:
                name = found.name or f"{found.bandwidth / 1e6:g} Mbit/s, {1000 * found.rtt:g} ms"
                yield _cost(record, protocol, name, ESTIMATED, *size, seconds)


def estimated_costs(content: Estimates) -> Iterator[PrivateCost]:
    """Those of an estimate.json."""
    for row in content.estimates:
        yield _cost(row, content.protocol, row.network.name or "a link", ESTIMATED, row.bytes, row.rounds, row.total)


def _cost(
    record: KnownNetwork, protocol: str, link: str, how: str, size: float, rounds: float, seconds: float
) -> PrivateCost:
    known, shares = record.accuracy, {}
    for metric in METRICS:
        if known and (value := record.accuracy_of(metric)) is not None:
            fewer = known.attacked_images if metric == "AdvA" else None
            shares[metric] = Share(value, fewer or known.images)
    return PrivateCost(
        file=record.file or "",
        sha256=record.sha256,
        branch=record.branch,
        relus=record.relus.kept,
        accuracy=shares,
        measured_on=f"{known.images:,} {SOURCES[known.source]}" if known and shares else None,
        protocol=protocol,
        link=link,
        how=how,
        bytes=size,
        rounds=rounds,
        seconds=seconds,
    )


def names_of(costs: Sequence[PrivateCost]) -> dict[str, str]:
    """{file: name}: the file's own name, where others share that its folder's, where that is shared too both."""
    paths = {cost.file: Path(cost.file) for cost in costs}
    ways: tuple[Callable[[Path], str], ...] = (
        lambda path: path.name.removesuffix(".pth"),  # a server's network goes by its address, which has dots
        lambda path: path.parent.name,
        lambda path: f"{path.parent.name}/{path.name.removesuffix('.pth')}",
    )
    counts = [Counter(map(way, paths.values())) for way in ways]
    return {
        file: next((way(path) for way, count in zip(ways, counts, strict=True) if count[way(path)] == 1), file)
        for file, path in paths.items()
    }


def most_common_kind(costs: Sequence[PrivateCost]) -> tuple[str, str, str] | None:
    """The protocol, link and way that most networks have seconds of, of equals the first; None where there are none."""
    networks = dict.fromkeys((cost.kind, cost.sha256 or cost.file) for cost in costs)
    kinds = Counter(kind for kind, _ in networks)
    worth = {kind: (count, kind[1] != LINKS["loopback"], kind[2] == MEASURED) for kind, count in kinds.items()}
    return max(worth, key=worth.__getitem__) if worth else None


def belongs_to(cost: PrivateCost, results: Results) -> bool:
    """Whether the cost is that of the network of a results file."""
    if results.checkpoint_sha256:
        return cost.sha256 == results.checkpoint_sha256
    files = [entry.file for entry in (results.checkpoints or ())[:1]]
    return any(real_path(cost.file) == real_path(file) for file in files)
