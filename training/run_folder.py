"""A run that is being written: who may write its folder, what is saved when, how it goes on after it was stopped."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from helper.checkpoint import read_checkpoint, save_checkpoint
from helper.errors import UserError
from helper.files import lock_folder, replace_file, write_json
from helper.processes import Processes, on_main_process, restarts
from helper.run_folder import differing_options, plain_arguments


class RunFolder:
    """Begin the run in `path`, or go on with one: --resume auto with that in `path`, --resume FILE with the file's.

    After construction `checkpoint` is what to go on from, or None; `args.amp` 'auto' is then what the run began with.
    """

    def __init__(self, path: Path, stem: str, args: argparse.Namespace, processes: Processes):
        named = args.resume not in (None, "auto")
        self.path = Path(args.resume).resolve().parent if named else path
        self.stem, self.args, self.processes = stem, args, processes
        # A process that torchrun has brought back goes on, whatever the command line once said.
        resume = "auto" if restarts() else args.resume

        def claim() -> dict | None:
            self.lock = lock_folder(self.path)
            if resume is None:
                self._move_aside()
            return self._find_checkpoint(resume)

        self.checkpoint = on_main_process(claim)
        if self.checkpoint and args.amp == "auto":
            args.amp = self.checkpoint["args"]["amp"]

    @property
    def last(self) -> Path:
        return self.path / f"{self.stem}_last.pth"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    def best(self, suffix: str) -> Path:
        return self.path / f"{self.stem}_best{suffix}.pth"

    def _move_aside(self) -> None:
        if self.path.exists() and any(self.path.iterdir()):
            number = 1
            while (aside := self.path.with_name(f"{self.path.name}.old{number}")).exists():
                number += 1
            self.path.rename(aside)
            print(f"an earlier run of this name is now {aside} (to go on with a run, use --resume auto)")
        self.path.mkdir(parents=True, exist_ok=True)

    def _find_checkpoint(self, resume: str | None) -> dict | None:
        if resume is None or (resume == "auto" and not self.last.exists()):
            return None
        path = self.last if resume == "auto" else Path(resume)
        checkpoint = read_checkpoint(path)
        if "progress" not in checkpoint:
            raise UserError(f"--resume {path}: this file holds weights only; go on from the run's *_last.pth")
        stored, given = checkpoint["args"], plain_arguments(vars(self.args))
        if given["amp"] == "auto" and "amp" in stored:  # decided by a measurement, which may come out otherwise here
            given["amp"] = stored["amp"]
        for name in differing_options(stored, given):
            raise UserError(
                f"--resume: {name} is {given.get(name)} here and {stored.get(name)} in {path}; "
                "give the same value, or another --run_name for a new run"
            )
        return checkpoint

    def finished_results(self) -> dict | None:
        """The results of the run that we were to go on with, where there is nothing left to do."""
        if self.checkpoint and self.checkpoint["epoch"] == self.args.epochs and self.results.exists():
            return json.loads(self.results.read_text())
        return None

    def open_logs(self, first_epoch: int) -> None:
        """Keep what log.jsonl says of epochs before `first_epoch`, and let TensorBoard go on from there."""
        self.writer = None
        if not self.processes.is_main:
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        kept = []
        if self.log.exists():
            lines = self.log.read_text().splitlines(keepends=True)
            kept = [line for line in lines if line.endswith("\n") and json.loads(line)["epoch"] <= first_epoch]
        replace_file(self.log, lambda file: file.write("".join(kept).encode()))
        self.writer = SummaryWriter(str(self.path / "tensorboard"), purge_step=first_epoch + 1)

    def log_epoch(self, record: dict) -> None:
        """`record`: flat but for one level of dicts; 'epoch' counts from 1."""
        if not self.processes.is_main:
            return
        with open(self.log, "a") as file:
            file.write(json.dumps(record) + "\n")
        for name, value in record.items():
            for key, number in value.items() if isinstance(value, dict) else [(None, value)]:
                tag = name if key is None else f"{name}/{key}"
                if isinstance(number, int | float):
                    self.writer.add_scalar(tag, number, record["epoch"])
        self.writer.flush()

    def save(self, path: Path, checkpoint: dict) -> None:
        if self.processes.is_main:
            save_checkpoint(path, checkpoint)

    def write_results(self, results: dict) -> None:
        if self.processes.is_main:
            write_json(self.results, results)
            if self.writer is not None:
                self.writer.close()
