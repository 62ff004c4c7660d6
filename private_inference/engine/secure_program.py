"""A program as the two engines run it: compiled step by step, its weights private to the server, every step measured.

Runs in the engine's environment, without PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from spu import libspu

from private_inference.engine.cost import Cost, Costs, part_of, priced, total
from private_inference.engine.products import laid_out
from private_inference.engine.protocols import FIELD_BITS, EngineSettings
from private_inference.engine.secure_steps import Phase, phases
from private_inference.engine.spu_runtime import CLIENT, SERVER, Form, Party
from private_inference.program.public import is_public, secret_name, secrets
from private_inference.program.steps import COMPARING, INPUT, Program, Settings, Step, comparisons, shapes


@dataclass(frozen=True, eq=False)
class Compiled:
    """A phase of a step, ready to run on the values `inputs`; `last` are those that nobody reads after it."""

    phase: Phase
    executable: libspu.Executable
    inputs: tuple[str, ...]
    output: str
    last: frozenset[str]


class SecureProgram:
    """A program compiled for the two engines and a batch of images, its weights private to the server."""

    def __init__(self, party: Party, program: Program, settings: EngineSettings):
        self.party = party
        self.program = program = laid_out(program, settings)
        self.batch = settings.batch
        self.compared = {layer: count for layer, _, count in comparisons(program)}
        if any(step.settings.get("bits") == 32 for step in program.steps):
            party.add_ring(32)
        weights = secrets(program)
        for name, array in weights.items():
            party.own(name, array, SERVER)
        # What the client may compute in the clear, before anything is private: minus the mean colour.
        first = program.steps[0]
        self.in_the_clear = first if first.kind == "shift" and is_public(first, "bias") else None
        self.steps = [step for step in program.steps if step is not self.in_the_clear]
        known = {name: Form((self.batch, *shape)) for name, shape in shapes(program).items()}
        known |= {name: Form(array.shape) for name, array in weights.items()}
        uses = [name for step in self.steps for name in step.inputs]
        codes: dict = {}
        self.compiled = []
        for step in self.steps:
            for name in step.inputs:
                uses.remove(name)
            over = frozenset(step.inputs) - set(uses)
            self.compiled.append(self._compile(step, known, over, codes))

    def _compile(self, step: Step, known: dict, over: frozenset[str], codes: dict) -> list[Compiled]:
        """The phases of a step; steps that are alike share `codes`. `over` are inputs that no later step reads."""
        roles = dict(zip(("x", "y"), step.inputs, strict=False)) | {"": step.output}
        roles |= {name: secret_name(step, name) for name in step.arrays}
        every, found = phases(step), []
        mask = step.arrays["mask"].tobytes() if "mask" in step.arrays else b""
        same = (step.kind, tuple(sorted(step.settings.items(), key=lambda item: item[0])), mask)
        for number, phase in enumerate(every):
            inputs = tuple(roles.setdefault(role, f"{step.output}/{role}") for role in phase.inputs)
            output = roles.setdefault(phase.output, f"{step.output}/{phase.output}")
            later = {name for other in every[number + 1 :] for name in other.inputs}
            own = {name for role, name in roles.items() if role not in later and "/" in name and name in inputs}
            last = own | (over if number == len(every) - 1 else frozenset())
            forms = tuple(known[name] for name in inputs)
            key = (*same, number, forms)
            executable, known[output] = self.party.compile(phase.function, inputs, forms, output, codes.get(key))
            codes[key] = executable.code, known[output]
            found.append(Compiled(phase, executable, inputs, output, frozenset(last)))
        return found

    def run(self, images: np.ndarray | None) -> tuple[np.ndarray | None, list[Cost]]:
        """Logits (B, classes) for the client's images (B, C, H, W), None at the server; the cost of every step."""
        party, value, shape = self.party, INPUT, self.program.input_shape
        if self.in_the_clear:
            value = self.in_the_clear.output
            images = images if images is None else images + self.in_the_clear.arrays["bias"]
        party.own(value, np.zeros((self.batch, *shape), np.float32) if images is None else images, CLIENT)
        costs = [Cost()] if self.in_the_clear else []
        costs += [total(self._run(compiled) for compiled in step) for step in self.compiled]
        logits, cost = party.reveal(self.program.output, CLIENT)
        party.forget(self.program.output)
        return logits, [*costs, cost]

    def _run(self, compiled: Compiled) -> Cost:
        party, bits = self.party, compiled.phase.bits
        if bits == 32:
            (name,) = compiled.inputs
            party.narrow(name)
        cost = party.run(compiled.executable, bits)
        if bits == 32:
            party.forget(name, 32)
            party.widen(compiled.output)
        for name in compiled.last:
            party.forget(name)
        return cost

    def priced(self, runs: Sequence[list[Cost]], prepared: tuple[Cost, dict]) -> Costs:
        """The costs of all runs, an image; the first one is cold. `prepared` is what `prepare` measured."""
        steps = self.program.steps
        names = [(step.layer, step.kind, self.compared.get(step.layer, 0)) for step in steps]
        protocols = [*map(_protocol, steps), "output"]
        return priced([*names, ("logits", "output", 0)], protocols, runs, self.batch, *prepared)


def prepare(party: Party, program: Program, settings: EngineSettings) -> tuple[Cost, dict]:
    """Let the engines set up what they set up once, by a product and a comparison in each ring that `program` uses.

    (what that cost, rounds that such steps take from then on, as `settle_rounds` knows them)
    """
    bits = sorted({step.settings.get("bits", FIELD_BITS) for step in program.steps if step.kind in COMPARING})
    # Large enough for its answers to be packed: the keys for that are most of what is exchanged once.
    weight = np.zeros((16, 16, 3, 3), np.float32)
    padded: Settings = {"stride": (1, 1), "padding": (1, 1), "groups": 1}
    steps = [
        Step("conv", (INPUT,), "prepare0", "prepare", {"weight": weight, "bias": weight[:, 0, 0, 0]}, padded),
        *(
            Step("relu", (f"prepare{number}",), f"prepare{number + 1}", "prepare", {}, {"bits": each})
            for number, each in enumerate(bits)
        ),
    ]
    tiny = SecureProgram(party, Program((16, 8, 8), tuple(steps)), replace(settings, batch=1))
    image = np.zeros((1, 16, 8, 8), np.float32) if party.rank == CLIENT else None
    (_, first), (_, later) = tiny.run(image), tiny.run(image)
    return total(first), {_protocol(step): cost.rounds for step, cost in zip(tiny.steps, later, strict=False)}


def _protocol(step: Step) -> tuple:
    """Steps that do the same take as many rounds."""
    if part_of(step.kind) == "linear":
        layout, products = step.settings.get("layout"), step.settings.get("groups", 1)
        return "product", products * len(layout.cuts or (1,)) if layout else products
    return step.kind, step.settings.get("kernel"), step.settings.get("bits")
