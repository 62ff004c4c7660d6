"""`rlnet NAME ...` is `python NAME.py ...`, wherever this is installed: `pip install .` gives the command."""

from __future__ import annotations

import helper  # noqa: F401  # which says why it comes first

# isort: split
import ast
import importlib.util
import runpy
import shutil
import sys
import textwrap
from pathlib import Path

# In the order in which they are used.
SCRIPTS = (
    *("demo", "train_teacher", "train_student_stage1_multigpu", "train_student_stage2_multigpu", "make_corruptions"),
    *("validate_common_corruptions", "interpolate_branches", "measure_private_inference", "report", "export_model"),
    *("compute_sensitivity", "plan_budget", "relu_report", "reproduce", "sweep", "add_to_zoo"),
)


def spoken(script: str) -> str:
    """'train_student_stage1_multigpu' -> 'train-student-stage1'"""
    return script.removesuffix("_multigpu").replace("_", "-")


def purpose(script: str) -> str:
    """The first line of a script's docstring; the script is not run for it."""
    spec = importlib.util.find_spec(script)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(script)
    said = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
    return (said or "").partition("\n")[0]


def usage() -> str:
    indent = max(len(spoken(script)) for script in SCRIPTS) + 4
    columns = max(indent + 30, min(shutil.get_terminal_size().columns, 120))
    lines = [
        textwrap.fill(f"  {spoken(script)}".ljust(indent) + purpose(script), columns, subsequent_indent=indent * " ")
        for script in SCRIPTS
    ]
    return "\n".join(["usage: rlnet NAME [options]; rlnet NAME --help explains them", "", *lines])


def main() -> None:
    asked = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if asked in ("-h", "--help"):
        print(usage())
        return
    names = {name: script for script in SCRIPTS for name in (spoken(script), script, spoken(script).replace("-", "_"))}
    if asked not in names:
        print(f"error: rlnet has no '{asked}'; it has {', '.join(map(spoken, SCRIPTS))}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"rlnet {asked}", *sys.argv[2:]]
    runpy.run_module(names[asked], run_name="__main__")


if __name__ == "__main__":
    main()
