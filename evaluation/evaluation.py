"""The measurements of one checkpoint on one test set, each on disk before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import mean

from torch import nn
from tqdm import tqdm

from attacks.attack import AttackSettings
from dataset import DatasetSpec, ImageSource
from dataset.corrupted_sets import CorruptedSet
from dataset.options import DataSettings
from evaluation.accuracy import evaluate
from evaluation.corruption_error import whole_benchmark
from evaluation.data import evaluation_loader
from evaluation.measurements import Measurements, Unsaved
from evaluation.parts import evaluate_parts
from evaluation.plan import main_attack
from evaluation.self_checks import inspect
from formats.measured import ByBranch
from formats.measurements import Evaluated, SelfChecks
from helper.errors import UserError
from helper.processes import Processes, bar_options
from helper.text import percent
from reporting.tables import corruption_title, counted


class Evaluation:
    """`source`: the test images; `branches`: those of the network that were trained, and so are measured; `attacked`:
    those of them that attacks are made through, all where nothing else is said.

    `about`: what else figures depend on, where several networks come from one checkpoint, or images are picked.
    """

    def __init__(
        self,
        model: nn.Module,
        branches: Sequence[int],
        spec: DatasetSpec,
        source: ImageSource,
        measured: Measurements | Unsaved,
        processes: Processes,
        images: DataSettings,
        *,
        attacked: Sequence[int] | None = None,
        seed: int = 0,
        about: Mapping[str, object] | None = None,
    ):
        self.model, self.branches, self.spec, self.source = model, list(branches), spec, source
        self.attacked = self.branches if attacked is None else list(attacked)
        self.measured, self.processes, self.settings, self.seed = measured, processes, images, seed
        self.load = partial(evaluation_loader, images, spec, processes)
        self.evaluate = partial(evaluate, model, processes=processes, seed=seed)
        # What every figure depends on beside the weights.
        count = self.load(source).batch_sampler.num_samples
        self.images = {"of": "heldout" if images.select_on == "heldout" else "test", "images": count, **(about or {})}

    def accuracy(
        self,
        attacks: Sequence[AttackSettings],
        corrupted: CorruptedSet | None,
        names: Sequence[str] = (),
        severities: Sequence[int] = (),
    ) -> dict:
        """{'images': n, 'CA': {branch: %}} and what else is asked for, each measurement done before the next begins.

        'attacks': {name: {branch: %}}, 'AdvA' being the main one's; 'corruptions': {branch: {name: [% per severity]}},
        and 'NPA', the mean over the whole benchmark, where all of it was measured.
        """
        accuracy = self.clean()
        if main := main_attack(attacks):
            accuracy["attacks"] = {attack.name: self.attack(attack) for attack in attacks}
            accuracy["AdvA"] = accuracy["attacks"][main.name]
        if corrupted:
            accuracy["severities"] = list(severities)
            accuracy["corruptions"] = self.corruptions(corrupted, names, severities)
            if whole_benchmark(names, severities):
                accuracy["NPA"] = {
                    branch: mean(mean(row) for row in counted(rows).values())
                    for branch, rows in accuracy["corruptions"].items()
                }
        return accuracy

    def self_checks(self) -> SelfChecks:
        return self.measured.take(
            "self-checks",
            SelfChecks,
            lambda: inspect(self.model, self.load(self.source), self.processes, self.branches),
            **self.images,
        )

    def clean(self) -> dict:
        """{'images': n, 'CA': {branch: %}}"""
        found = self.measured.take(
            "clean",
            Evaluated,
            lambda: self.evaluate(self.load(self.source), clean_branches=self.branches, description="clean"),
            **self.images,
        )
        clean = of_branches(found.CA, self.branches, "clean")
        self.measured.say(f"clean: {through_branches(clean)}")
        return {"images": found.images, "CA": clean}

    def attack(self, attack: AttackSettings) -> dict[str, float]:
        """{branch: %} of the attacked branches, each attacked through itself."""
        settings = {**attack.values(), **self.images, "seed": self.seed}
        whole_batches = attack.entry.whole_batches
        if whole_batches:
            settings["batch_size"] = self.settings.batch_size  # its random numbers are those of a batch
        load = partial(self.load, self.source, whole_batches=whole_batches)

        def at_once(branch: int, title: str) -> dict:
            return self.evaluate(load(), clean_branches=[], attack_branches=[branch], attack=attack, description=title)

        def in_parts(branch: int, title: str, known: dict, keep: Callable[[dict], None]) -> dict:
            return evaluate_parts(
                self.model,
                branch,
                load(),
                self.processes,
                attack=attack,
                seed=self.seed,
                description=title,
                known=known,
                keep=keep,
            )

        accuracy: dict[str, float] = {}
        for branch in self.attacked:
            title = f"{attack.name} on branch {branch}"
            if attack.entry.parts:
                found = self.measured.take_in_parts(title, Evaluated, partial(in_parts, branch, title), **settings)
            else:
                found = self.measured.take(title, Evaluated, partial(at_once, branch, title), **settings)
            accuracy |= of_branches(found.AdvA, [branch], title)
            self.measured.say(f"{attack.entry.title}: {through_branches(found.AdvA)}")
        return accuracy

    def corruptions(
        self, corrupted: CorruptedSet, names: Sequence[str], severities: Sequence[int]
    ) -> dict[str, dict[str, list[float]]]:
        """{branch: {corruption: [% per severity]}}"""
        # Images of a corrupted set have their network's size already.
        load = partial(evaluation_loader, self.settings, replace(self.spec, any_size=False), self.processes)
        if corrupted.in_memory:
            load = partial(load, workers=0)  # to start workers 75 times takes longer than to read arrays

        def measure(name: str, severity: int, cell: str) -> dict:
            images = load(corrupted.source(name, severity))
            return self.evaluate(images, clean_branches=self.branches, description=cell)

        table: dict[str, dict[str, list[float]]] = {
            str(branch): {name: [] for name in names} for branch in self.branches
        }
        made = corrupted.provenance.record()
        cells = [(name, severity) for name in names for severity in severities]
        with tqdm(total=len(cells), desc="corruptions", unit="cell", **bar_options(self.processes)) as bar:
            for name, severity in cells:
                cell = f"{name} {severity}"
                bar.set_postfix_str(cell, refresh=False)
                found = self.measured.take(
                    cell,
                    Evaluated,
                    partial(measure, name, severity, cell),
                    **self.images,
                    corrupted=corrupted.identity(name, severity),
                )
                bar.update()
                for branch, value in of_branches(found.CA, self.branches, cell).items():
                    table[branch][name].append(value)
                if severity == severities[-1]:
                    means = {branch: mean(rows[name]) for branch, rows in table.items()}
                    self.measured.say(f"{corruption_title(name, made)}: {through_branches(means)}")
        return table


def of_branches(found: ByBranch, branches: Sequence[int], cell: str) -> ByBranch:
    """Raises UserError where a measurement that was taken over is of others."""
    if found.keys() != (wanted := set(map(str, branches))):
        raise UserError(
            f"what is measured already of '{cell}' is of the branches {', '.join(found) or 'none'}, not "
            f"{', '.join(sorted(wanted))}; remove the file of measurements to begin anew"
        )
    return found


def through_branches(shares: Mapping[str, float]) -> str:
    """'91.20 % (branch 0), 63.10 % (branch 1)'"""
    return ", ".join(f"{percent(value)} % (branch {branch})" for branch, value in shares.items())
