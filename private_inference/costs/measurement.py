"""One checkpoint, measured: two parties run it on test images, and what that cost and gave becomes one JSON record."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dataset import DatasetSpec, ImageSource, load_dataset
from dataset.loaders import EvalViews
from formats.checkpoint import Checkpoint
from formats.measured import Kept
from formats.parties import Event
from formats.private_costs import (
    AccuracySource,
    Agreement,
    EstimateRecord,
    KnownAccuracy,
    KnownNetwork,
    MeasuredCosts,
    OtherClass,
)
from formats.program import ServedNetwork
from helper.errors import UserError
from helper.files import file_digest, real_path
from helper.run_folder import measurements_folder
from masks.counting import relu_totals
from models.restore import checkpoint_data, load_model
from private_inference.costs.emulate import HOSTS, EmulatedLink
from private_inference.costs.link import Network, estimate
from private_inference.engine.cost import Costs
from private_inference.engine.parties import Answer, Assignment, run_parties
from private_inference.engine.protocols import EngineSettings
from private_inference.program.comparison import with_bits
from private_inference.program.fuse import fuse, fused_in_words
from private_inference.program.plaintext import largest_compared, run
from private_inference.program.public import digest
from private_inference.program.steps import Program
from private_inference.program.trace import build_program
from reporting.results import read_results

EMULATED_PORT = 9600  # in namespaces of our own, where every port is free


@dataclass(frozen=True, eq=False)
class Subject:
    """A checkpoint as the parties see it: its program, what may be known about that, and where it comes from."""

    path: Path
    program: Program
    about: ServedNetwork
    data: DatasetSpec
    record: KnownNetwork

    @property
    def digest(self) -> str:
        return digest(self.program, self.about)


def load_subject(path: Path, branch: int, *, fused: bool, save_dir: str) -> Subject:
    """Raises UserError for a file that is no checkpoint of ours, and for a branch that it lacks or never trained."""
    model, checkpoint = load_model(path)
    trained = checkpoint.trained_branches
    if branch not in trained:
        raise UserError(f"--branch {branch}: {path} trained the branches {', '.join(map(str, trained))}")
    program = build_program(model, branch)
    if fused:
        program = fuse(program)
    kept, total = relu_totals(model)
    data = checkpoint_data(checkpoint, path, remedy="one of the training scripts' files does")
    about = ServedNetwork(
        model=checkpoint.model.name,
        dataset=data.name,
        branch=branch,
        stage=checkpoint.stage or 0,
        relus=Kept(kept=kept, total=total),
    )
    record = served(
        about,
        file=str(path),
        sha256=file_digest(path),
        fused=tuple(fused_in_words(program)) if fused else None,
        accuracy=known_accuracy(path, checkpoint, branch, save_dir),
    )
    return Subject(path, program, about, data, record)


def served(about: ServedNetwork, file: str | None = None, **known: Any) -> KnownNetwork:
    """The record of a network of which we know what its owner says `about` it, and these fields."""
    label = f"{about.model}, {about.relus.kept:,} ReLUs"
    return KnownNetwork(**{"fused": (), "file": file, "label": label} | dict(about) | known)


def known_accuracy(path: Path, checkpoint: Checkpoint, branch: int, save_dir: str) -> KnownAccuracy | None:
    """Percent through `branch`, from the evaluation of this file where there is one, else from its training run."""
    found = measurements_folder(Path(save_dir, "validation"), path) / "results.json"
    heldout = checkpoint.args.get("select_on", "heldout") == "heldout"
    source: AccuracySource = "training" if heldout else "training_test"
    accuracy = checkpoint.metrics
    if found.is_file():
        results = read_results(found)
        if results.checkpoint and real_path(results.checkpoint) == real_path(path):
            source, accuracy = "validation", results.accuracy
    if not accuracy:
        return None
    values = {metric: accuracy.of(metric).get(str(branch)) for metric in ("CA", "NPA", "AdvA")}
    return KnownAccuracy(source=source, images=accuracy.images, attacked_images=accuracy.attacked_images, **values)


def first_images(data: DatasetSpec, count: int, root: str, *, download: bool) -> tuple[np.ndarray, np.ndarray, tuple]:
    """(images (count, 3, S, S) float32 in [0, 1], labels (count,), class names) of the first test images."""
    source = load_dataset(data, root, train=False, download=download)
    if count > len(source):
        raise UserError(f"--images {count}: the test set of {data.title} has {len(source):,}")
    images, labels = _first(source, data, count)
    return images, labels, source.classes


def _first(source: ImageSource, data: DatasetSpec, count: int) -> tuple[np.ndarray, np.ndarray]:
    items = EvalViews(source, data).__getitems__(range(count))
    return np.stack([item["clean"].numpy() for item in items]), np.array([item["label"] for item in items])


def images_to_try(data: DatasetSpec, count: int, root: str, *, download: bool) -> np.ndarray:
    """Up to `count` test images (N, 3, S, S), and some that reach further than pictures do; none without the data."""
    try:
        source = load_dataset(data, root, train=False, download=download)
    except UserError:
        return np.zeros(0, np.float32)
    images, _ = _first(source, data, min(count, len(source)))
    noise = np.random.default_rng(0).integers(0, 2, (8, *images.shape[1:])).astype(np.float32)
    colours = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 0, 1]], np.float32)[..., None, None]
    return np.concatenate([images, noise, np.broadcast_to(colours, (4, *images.shape[1:]))])


@dataclass(frozen=True, eq=False)
class Bench:
    """How measurements are made: the engine, how it is run, and the link between the parties (None: loopback)."""

    python: Path
    settings: EngineSettings
    emulated: Network | None = None

    def run(self, assignments: Sequence[Assignment], images: int | None = None) -> dict[str, Answer]:
        """Both parties, or the one whose owner started us, with a bar over the images."""
        with (
            tempfile.TemporaryDirectory(prefix="rlnet-pi-") as folder,
            tqdm(total=images, desc="connecting", unit="image", leave=False) as bar,
        ):

            def follow(role: str, event: Event) -> None:
                if role != assignments[0].role:
                    return
                if event.event == "linked":
                    bar.set_description("compiling")
                elif event.event == "ready":
                    bar.set_description("first images (cold)")
                elif event.event == "images":
                    bar.total = event.of
                    bar.set_description("inference")
                    bar.set_postfix({"seconds": f"{event.seconds or 0:.1f}"})
                    bar.update(event.batch or 0)

            return run_parties(
                assignments,
                settings=self.settings,
                python=self.python,
                folder=Path(folder),
                follow=follow,
            )

    def measure(self, subject: Subject, images: np.ndarray, labels: np.ndarray) -> MeasuredCosts:
        """What is measured of one checkpoint, both parties run here."""
        link = EmulatedLink(self.emulated) if self.emulated else nullcontext()
        with link as emulated:
            if emulated:
                addresses = [f"{host}:{EMULATED_PORT}" for host in HOSTS]
                prefixes = [emulated.prefix(rank) for rank in range(2)]
            else:
                addresses, prefixes = [f"127.0.0.1:{port}" for port in free_ports(2)], [[], []]
            client = Assignment("client", addresses[0], addresses[1], images, prefix=prefixes[0])
            secret = (subject.program, subject.about)
            server = Assignment("server", addresses[1], addresses[0], secret, prefix=prefixes[1])
            answer = self.run([client, server], len(images))["client"]
        assert answer.logits is not None  # they are the client's
        agreed = agreement(answer.logits, run(subject.program, images), labels)
        return measured(subject.record, answer, agreed)


def agreement(found: np.ndarray, expected: np.ndarray, labels: np.ndarray) -> Agreement:
    """How logits (N, classes) agree with PyTorch's; images of another class with how near PyTorch's two best are."""
    if not (np.isfinite(found).all() and np.isfinite(expected).all()):
        raise UserError("the logits are not finite: are the network's weights?")
    classes, best = found.argmax(1), np.sort(expected, axis=1)
    unlike = np.flatnonzero(classes != expected.argmax(1))
    margins = {int(image): float(best[image, -1] - best[image, -2]) for image in unlike}
    return Agreement(
        images=len(found),
        same_class=len(found) - len(unlike),
        largest_logit_error=float(np.abs(found - expected).max()),
        right=int((classes == labels).sum()),
        other_class=tuple(OtherClass(image=image, margin=margin) for image, margin in margins.items()),
    )


def measured(known: KnownNetwork, answer: Answer, agreed: Agreement | None = None) -> MeasuredCosts:
    """What one party says. Agreement with PyTorch is for whoever has images and weights."""
    result = answer.result
    return MeasuredCosts(
        **dict(known),
        digest=result.digest,
        setup_seconds=result.setup_seconds,
        agreement=agreed,
        comparison=result.comparison,
        batch=result.batch,
        costs=result.costs,
        estimates=(),
    )


def compared_in(subject: Subject, bits: int, images: np.ndarray) -> Subject:
    """The subject, each of its layers comparing in `bits` where all `images`, run in the clear, allow it."""
    largest = largest_compared(subject.program, images) if bits == 32 and len(images) else {}
    return replace(subject, program=with_bits(subject.program, bits, largest))


def with_estimates(record: MeasuredCosts, networks: Sequence[Network]) -> MeasuredCosts:
    """A measurement without a network, with what it would be over these."""
    costs = Costs.from_record(record.costs)
    seconds = [{**asdict(link), "seconds": estimate(costs, link)} for link in networks]
    found = tuple(map(EstimateRecord.model_validate, seconds))
    return record.model_copy(update={"estimates": found})


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]
    finally:
        for held in sockets:
            held.close()
