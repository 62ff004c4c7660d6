"""A configuration as steps, each one command of the project's own scripts, in the order in which rows get done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from attacks.autoattack import ENTRY as AUTOATTACK
from dataset import dataset_spec
from helper.errors import UserError
from helper.run_folder import run_folder
from masks.counting import relu_totals
from models import build_model, student_name
from reproduction.config import TRAININGS, Config, Options, Round, branches_with, budget_of
from training.naming import checkpoint_stem

OF_EVERY_ROW = ("evaluation", "corruptions")  # the measurements without which it is of little use
ESTIMATE = "estimate_only"  # the option of private inference that runs nothing
SCRIPTS = ("train_teacher.py", "train_student_stage1_multigpu.py", "train_student_stage2_multigpu.py")


@dataclass(frozen=True)
class Step:
    """`command`: a script and its arguments. `marker` exists when it is done; `product` is what it makes.

    `kind`: 'teacher', 'stage1', 'stage2', 'interpolation', 'evaluation', 'corruptions', 'autoattack' or 'private';
    'given', without a command, is what others have made. `options`: those that the configuration names. `branches`:
    those of the network that is made or measured.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    marker: Path
    product: Path
    options: Options = field(default_factory=dict)
    branches: int = 1


@dataclass(frozen=True)
class Row:
    """A network of the results: its checkpoint, the steps that made it, and those that measure it, by kind.

    `relus`: those that it keeps of `total`, None where its budget is in seconds.
    """

    round: Round
    role: str
    seed: int
    relus: int | None
    total: int
    checkpoint: Path
    made_by: tuple[Step, ...]
    measurements: dict[str, Step]


@dataclass(frozen=True)
class Place:
    """Where everything lies: options that are the machine's and not the configuration's."""

    save: Path
    data_root: str
    frost_dir: str | None = None
    download: bool = True

    def arguments(self) -> list[str]:
        return ["--data_root", self.data_root, *([] if self.download else ["--no_download"])]


def plan(config: Config, place: Place, rounds: Sequence[str]) -> tuple[list[Step], list[Row]]:
    """Every step of the named rounds, in order, and the rows of the table that they fill."""
    planner = _Planner(config, place)
    parts = [planner.round(one) for one in config.rounds if one.name in rounds]
    return [step for steps, _ in parts for step in steps], [row for _, rows in parts for row in rows]


def as_arguments(options: Options) -> Iterator[str]:
    """{'epochs': 3, 'use2BN': True, 'network': ['lan', 'wan']} -> --epochs 3 --use2BN --network lan wan"""
    for name, value in options.items():
        if value is True:
            yield f"--{name}"
        elif isinstance(value, list):
            yield from (f"--{name}", *map(str, value))
        elif value is not None and value is not False:
            yield from (f"--{name}", str(value))


class _Planner:
    def __init__(self, config: Config, place: Place):
        self.config, self.place = config, place
        self.student = student_name(config.model)
        data = dataset_spec(config.dataset)
        model = build_model(config.model, num_classes=data.num_classes, image_size=data.image_size)
        self.total = relu_totals(model)[1]

    def round(self, one: Round) -> tuple[list[Step], list[Row]]:
        """Networks one after the other, each with its evaluation; what takes long and fills no new row comes last."""
        made: list[tuple[list[Step], Row]] = []
        for seed in one.seeds:
            teacher = self._teacher(one, seed)
            if one.teacher_of is None:
                made.append(([teacher], self._row(one, "teacher", seed, self.total, [teacher])))
            for budget in one.budgets:
                made += self._students(one, seed, budget, teacher)
        first, late, rows = [], [], []
        for steps, row in made:
            measurements = row.measurements.values()
            first += [
                *(step for step in steps if step.command),
                *(step for step in measurements if step.kind in OF_EVERY_ROW),
            ]
            late += [step for step in measurements if step.kind not in OF_EVERY_ROW]
            rows.append(row)
        return first + late, rows

    def _teacher(self, one: Round, seed: int) -> Step:
        origin = next(other for other in self.config.rounds if other.name == (one.teacher_of or one.name))
        if file := origin.teacher_file:
            return Step(
                f"{origin.name}_teacher", "given", (), file, file, origin.teacher, branches_with(origin.teacher)
            )
        own = seed if seed in origin.seeds else origin.seeds[0]
        return self._training(origin, 0, f"{origin.name}_teacher{_seed(own)}", origin.teacher, own, [])

    def _students(self, one: Round, seed: int, budget: str, teacher: Step) -> list[tuple[list[Step], Row]]:
        relus, asked = self._budget(one, budget)
        label = f"{budget.replace('%', 'pct')}{_seed(seed)}"
        distil = ["--path_t", teacher.product]
        searched = self._training(one, 1, f"{one.name}_mask_{label}", one.stage1, seed, [*distil, *asked])
        tune = [*distil, "--path_s_load", searched.product]
        tuned = self._training(one, 2, f"{one.name}_student_{label}", one.stage2, seed, tune)
        chain = [teacher, searched, tuned]
        made = [([searched, tuned], self._row(one, "student", seed, relus, chain))]
        if one.interpolate is not None and tuned.branches > 1:
            mixed = self._interpolation(one, f"{one.name}_interpolated_{label}", tuned, seed)
            made.append(([mixed], self._row(one, "interpolated", seed, relus, [*chain, mixed])))
            if one.one_branch is not None:
                options = {**one.stage2, **one.one_branch, "use2BN": False, "use3BN": False, "use1BN": True}
                again = [*distil, "--path_s_load", mixed.product]
                single = self._training(one, 2, f"{one.name}_one_branch_{label}", options, seed, again)
                made.append(([single], self._row(one, "one_branch", seed, relus, [*chain, mixed, single])))
        return made

    def _budget(self, one: Round, budget: str) -> tuple[int | None, list[object]]:
        """(its ReLUs, None where it is one in seconds; what stage 1 is told of it)"""
        where = f"{self.config.name}, round {one.name}"
        if not budget.endswith("s"):
            relus = budget_of(budget, self.total, where)
            return relus, ["--relu_budget", relus]
        links = (one.private or {}).get("network")
        if not links:
            raise UserError(
                f"{where}: budget '{budget}' counts seconds over a link; name it, private: {{network: [wan]}}"
            )
        protocol = (one.private or {}).get("protocol", "cheetah")
        link = links[0] if isinstance(links, list) else links
        return None, ["--seconds_budget", budget.removesuffix("s"), "--network", link, "--protocol", protocol]

    def _training(
        self, one: Round, stage: int, name: str, options: Options, seed: int, arguments: Sequence[object]
    ) -> Step:
        model = self.student if stage else self.config.model
        branches, attacked = branches_with(options), options.get("attack_mode", "none") != "none"
        stem, criterion = checkpoint_stem(model, stage, attacked=attacked), ""
        if attacked:
            criterion = "_TA0.0" if one.checkpoint == "TA" else f"_ATA{branches - 1:.1f}"
        folder = run_folder(self.place.save, stage, name)
        product = folder / f"{stem}_best{'_ema' if options.get('ema') else ''}{criterion}.pth"
        named = ["--model_s" if stage else "--model", model, "--dataset", self.config.dataset, "--seed", seed]
        command = self._command(SCRIPTS[stage], [*named, "--resume", "auto", *arguments], name, options)
        return Step(name, TRAININGS[stage], command, folder / "results.json", product, options, branches)

    def _interpolation(self, one: Round, name: str, source: Step, seed: int) -> Step:
        out = self.place.save / "interpolation" / name / f"{source.product.stem}_interpolated.pth"
        arguments = [source.product, "--weight", one.interpolate, "--out", out, "--seed", seed, *self._frost()]
        return Step(name, "interpolation", self._command("interpolate_branches.py", arguments, name, {}), out, out)

    def _row(self, one: Round, role: str, seed: int, relus: int | None, made_by: list[Step]) -> Row:
        network, measurements = made_by[-1], {}
        kinds: tuple[tuple[str, Options | None, str, list[str]], ...] = (
            ("evaluation", one.evaluation, "validation/{}/results.json", self._frost()),
            ("corruptions", one.corruptions, "validation/{}/results.json", self._frost()),
            ("autoattack", one.autoattack, "validation/{}/results.json", ["--attack_mode", AUTOATTACK.name]),
            ("private", one.private, f"private_inference/{{}}/{_costs_file(one.private)}", []),
        )
        for kind, options, file, more in kinds:
            if options is not None:
                script = "measure_private_inference.py" if kind == "private" else "validate_common_corruptions.py"
                name, marker = f"{network.name}_{kind}", self.place.save / file.format(f"{network.name}_{kind}")
                command = self._command(script, ["--path", network.product, *more], name, options)
                measurements[kind] = Step(name, kind, command, marker, marker, options, network.branches)
        return Row(one, role, seed, relus, self.total, network.product, tuple(made_by), measurements)

    def _frost(self) -> list[str]:
        return ["--frost_dir", self.place.frost_dir] if self.place.frost_dir else []

    def _command(self, script: str, arguments: Sequence[object], run: str, options: Options) -> tuple[str, ...]:
        common = ["--run_name", run, "--save_dir", self.place.save, *self.place.arguments()]
        return (script, *map(str, [*arguments, *common]), *as_arguments(options))


def _costs_file(options: Options | None) -> str:
    return "estimate.json" if options and options.get(ESTIMATE) else "private_inference.json"


def _seed(seed: int) -> str:
    return f"_seed{seed}" if seed else ""
