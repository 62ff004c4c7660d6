"""A run that is being written: who may write its folder, what is saved when, how it goes on after it was stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from attacks.options import attack_defaults
from distiller_zoo.loss import weight_defaults
from formats.checkpoint import Checkpoint, RunState
from formats.log import Epoch
from formats.results import Results
from helper.checkpoint import read_run_state, save_checkpoint
from helper.errors import UserError
from helper.files import lock_folder, replace_file, write_json
from helper.processes import Processes, on_main_process
from helper.run_folder import differing_options, log_lines
from masks.options import search_defaults
from reporting.results import read_results
from training.plan import RunIdentity
from training.sparse_options import sparse_defaults


def file_to_resume(run: RunIdentity) -> Path | None:
    """The checkpoint that a run goes on from; None where it begins."""
    if run.resume == "auto":
        return run.last if run.last.exists() else None
    return Path(run.resume) if run.resume else None


@dataclass(frozen=True)
class Beginning:
    """What a run began with: its `record`, and `inputs`, the SHA-256 of checkpoints by their options, where known."""

    record: dict[str, object]
    inputs: dict[str, str] = field(default_factory=dict)


def beginning_of(run: RunIdentity) -> Beginning | None:
    """That of the run that goes on; None where it begins."""
    file = file_to_resume(run)
    if file is None:
        return None
    state = read_run_state(file)
    return Beginning(dict(state.args), state.inputs)


def check_resumed(given: Beginning, begun: Beginning | None, run: RunIdentity) -> None:
    """Raise UserError where a run that goes on differs from its beginning in what is computed.

    A checkpoint is the same wherever it lies now, and another one where its content has changed.
    """
    if begun is None:
        return
    _check_options(given.record, _moved(begun, given), run)
    for name in given.inputs.keys() & begun.inputs.keys():
        if given.inputs[name] != begun.inputs[name]:
            raise UserError(
                f"--resume: {given.record[name]} is no longer the --{name} that {file_to_resume(run)} began with: "
                "its content has changed; bring it back, or give another --run_name for a new run"
            )


def _moved(begun: Beginning, given: Beginning) -> Mapping[str, object]:
    """The record of the beginning, with the present places of the checkpoints that are the same."""
    same = [name for name, digest in given.inputs.items() if begun.inputs.get(name) == digest]
    return {**begun.record, **{name: given.record[name] for name in same}}


def _check_options(given: Mapping[str, object], begun: Mapping[str, object], run: RunIdentity) -> None:
    # An entry's own options, of before there was the entry, would have been its defaults.
    defaults = search_defaults() | attack_defaults() | weight_defaults() | sparse_defaults()
    # Stage 2 was dense, whether it was told so or not.
    dense = {"dense": True} if "density" in given and "density" not in begun else {}
    begun = {name: value for name, value in defaults.items() if name in given} | dict(begun) | dense
    for name in differing_options(begun, given):
        raise UserError(
            f"--resume: {name} is {given.get(name)} here and {begun.get(name)} in {file_to_resume(run)}; "
            "give the same value, or another --run_name for a new run"
        )


class RunFolder:
    """Begin the run in its folder, or go on with it. `checkpoint` is what to go on from, or None."""

    def __init__(self, run: RunIdentity, processes: Processes):
        self.run, self.processes = run, processes
        self.path, self.last = run.folder, run.last

        def claim() -> RunState | None:
            self.lock = lock_folder(self.path)
            if run.resume is None:
                self._move_aside()
            file = file_to_resume(run)
            return read_run_state(file) if file else None

        self.checkpoint = on_main_process(claim)

    @property
    def resumed_from(self) -> Path:
        """The file of `checkpoint`."""
        return self.last if self.run.resume in (None, "auto") else Path(self.run.resume)

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    def best(self, suffix: str) -> Path:
        return self.path / f"{self.run.stem}_best{suffix}.pth"

    def _move_aside(self) -> None:
        if self.path.exists() and any(self.path.iterdir()):
            number = 1
            while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
                number += 1
            self.path.rename(aside)
            print(f"an earlier run of this name is now {aside} (to go on with a run, use --resume auto)")
        self.path.mkdir(parents=True, exist_ok=True)

    def finished_results(self, epochs: int) -> Results | None:
        """The results of the run that we were to go on with, where its `epochs` are done and nothing is left to do."""
        if self.checkpoint and self.checkpoint.epoch == epochs and self.results.exists():
            results = read_results(self.results)
            if not results.checkpoints:
                raise UserError(
                    f"{self.results} is not of this run, for it names no checkpoints; remove it to test again"
                )
            return results
        return None

    def open_logs(self, first_epoch: int) -> None:
        """Keep what log.jsonl says of epochs before `first_epoch`, and let TensorBoard go on from there."""
        self.writer = None
        if not self.processes.is_main:
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        kept = [line for line, record in log_lines(self.log) if record.epoch <= first_epoch]
        replace_file(self.log, lambda file: file.write("".join(kept).encode()))
        self.writer = SummaryWriter(str(self.path / "tensorboard"), purge_step=first_epoch + 1)

    def log_epoch(self, record: Epoch) -> None:
        if self.writer is None:  # the log is the main process's
            return
        with open(self.log, "a") as file:
            file.write(json.dumps(record.as_json()) + "\n")
        for name, value in record.as_json().items():
            for key, number in value.items() if isinstance(value, dict) else [(None, value)]:
                tag = name if key is None else f"{name}/{key}"
                if isinstance(number, int | float):
                    self.writer.add_scalar(tag, number, record.epoch)
        self.writer.flush()

    def save(self, path: Path, checkpoint: Checkpoint) -> None:
        if self.processes.is_main:
            save_checkpoint(path, checkpoint)

    def write_results(self, results: Results) -> None:
        if self.processes.is_main:
            write_json(self.results, results.as_json())
            if self.writer is not None:
                self.writer.close()
