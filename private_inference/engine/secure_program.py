"""A program as the two engines run it: compiled step by step, its weights private to the server, every step measured.

Runs in the engine's environment, without PyTorch.
"""

from __future__ import annotations

import numpy as np

from private_inference.engine.cost import Cost, Costs, StepCost, part_of, settle_rounds, total
from private_inference.engine.secure_steps import secure_step
from private_inference.engine.spu_runtime import CLIENT, SERVER, Party
from private_inference.program.public import is_public, secret_name, secrets
from private_inference.program.steps import INPUT, Program, Step, comparisons, shapes


class SecureProgram:
    """A program compiled for the two engines, its weights private to the server."""

    def __init__(self, party: Party, program: Program):
        self.party = party
        self.program = program
        self.shapes = shapes(program)
        self.compared = {layer: count for layer, _, count in comparisons(program)}
        weights = secrets(program)
        for name, array in weights.items():
            party.own(name, array, SERVER)
        # What the client may compute in the clear, before anything is private: minus the mean colour.
        first = program.steps[0]
        self.in_the_clear = first if first.kind == "shift" and is_public(first, "bias") else None
        self.steps = [step for step in program.steps if step is not self.in_the_clear]
        codes: dict = {}
        self.executables = [self._compile(step, weights, codes) for step in self.steps]
        self.last_use = {name: number for number, step in enumerate(self.steps) for name in step.inputs}

    def _compile(self, step: Step, weights: dict[str, np.ndarray], codes: dict):
        names = [name for name in (secret_name(step, key) for key in step.arrays) if name in weights]
        known = [(1, *self.shapes[name]) for name in step.inputs] + [weights[name].shape for name in names]
        mask = step.arrays["mask"].tobytes() if "mask" in step.arrays else b""
        same = (step.kind, tuple(sorted(step.settings.items())), tuple(known), mask)
        executable = self.party.compile(
            secure_step(step), [*step.inputs, *names], known, step.output, code=codes.get(same)
        )
        codes[same] = executable.code
        return executable

    def run(self, image: np.ndarray | None) -> tuple[np.ndarray | None, list[Cost]]:
        """Logits (classes,) for the client's image (C, H, W), None at the server; the cost of every step, in order."""
        party, value, shape = self.party, INPUT, self.program.input_shape
        if self.in_the_clear:
            value = self.in_the_clear.output
            image = image if image is None else image + self.in_the_clear.arrays["bias"]
        party.own(value, np.zeros((1, *shape), np.float32) if image is None else image[None], CLIENT)
        costs = [Cost()] if self.in_the_clear else []
        for number, (step, executable) in enumerate(zip(self.steps, self.executables, strict=True)):
            costs.append(party.run(executable))
            for name in {*step.inputs}:
                if self.last_use[name] == number:
                    party.forget(name)
        logits, cost = party.reveal(self.program.output, CLIENT)
        party.forget(self.program.output)
        return (None if logits is None else logits[0]), [*costs, cost]

    def priced(self, runs: list[list[Cost]]) -> Costs:
        """The costs of all runs, the first one being cold."""
        whole = [(step.layer, step.kind, self.compared.get(step.layer, 0)) for step in self.program.steps]
        protocols = [
            "product" if part_of(step.kind) == "linear" else (step.kind, step.settings.get("kernel"))
            for step in self.program.steps
        ]
        runs, found = settle_rounds([*protocols, "output"], runs), []
        for number, (layer, kind, count) in enumerate([*whole, ("logits", "output", 0)]):
            cold, *later = (run[number] for run in runs)
            count = count if kind in ("relu", "max_pool") else 0
            found.append(StepCost(layer, kind, count, cold, total(later).over(len(later)) if later else None))
        return Costs(tuple(found))
