"""The command that a newcomer may type next, as scripts print it when they are done."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def command(script: str, *words: object) -> str:
    """The call of a script with these words, in the way in which this process was called."""
    called = Path(sys.argv[0]).name
    name = Path(script).stem.removesuffix("_multigpu")
    start = ["rlnet", name] if called == "rlnet" else ["python", script]
    return shlex.join([*start, *map(str, words)])


def evaluation_command(checkpoint: str | Path, common: Sequence[object] = ()) -> str:
    return command("validate_common_corruptions.py", "--path", checkpoint, "--generate", *common)
