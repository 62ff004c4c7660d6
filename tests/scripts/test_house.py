"""What CONTRIBUTING asks of every file."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from support.running import ROOT

FOUND = [*ROOT.glob("*.py"), *(path for room in ROOT.glob("[a-z]*/") for path in room.rglob("*.py"))]
FILES = {str(path.relative_to(ROOT)): path.read_text() for path in FOUND}
LINES, FUNCTION_LINES, HELPERS = 300, 60, 15


def test_files_and_functions_are_short() -> None:
    assert FILES
    assert {name: len(text.splitlines()) for name, text in FILES.items() if text.count("\n") > LINES} == {}
    long = []
    for name, text in FILES.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= FUNCTION_LINES:
                long.append(f"{name}: {node.name}")
    assert long == []
    assert sum(name.startswith("helper/") for name in FILES) <= HELPERS


def test_a_namespace_ends_in_scripts_and_option_files() -> None:
    found = {Path(name) for name, text in FILES.items() if re.search(r"\bNamespace\b", text)}
    rooms = {path for path in found if len(path.parts) > 1 and path.parts[0] not in ("benchmarks", "tests")}
    frame = {Path("helper/command_line.py"), Path("helper/script.py")}
    assert {str(path) for path in rooms - frame if not re.search(r"options|settle", path.stem)} == set()
