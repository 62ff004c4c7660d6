"""The command that a newcomer may type next, as scripts print it when they are done."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

SCRIPTS = Path(__file__).parent.parent


def command(script: str, *words: object) -> str:
    """The call of a script with these words, in the way in which this process was called."""
    name = Path(script).stem.removesuffix("_multigpu").replace("_", "-")
    start = ["rlnet", name] if sys.argv[0].startswith("rlnet ") else [interpreter(), from_here(SCRIPTS / script)]
    return shlex.join([*start, *map(str, words)])


def interpreter() -> str:
    """'python' where that is the one that runs us, as in an environment that was activated; else its path."""
    found, ours = shutil.which("python"), Path(sys.executable)
    return "python" if found and Path(found).absolute() == ours else from_here(ours)


def from_here(path: Path) -> str:
    """Below the working directory as a relative path."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def evaluation_command(checkpoint: str | Path, common: Sequence[object] = ()) -> str:
    return command("validate_common_corruptions.py", "--path", checkpoint, "--generate", *common)
