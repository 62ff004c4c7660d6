"""The commands of README and docs are such as the scripts take."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest
from support.running import ROOT
from support.zoos import save_digits_network

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()
# Those that stand for others ('...'), or for a file of the reader's, are left out.
COMMANDS = [
    command.replace("\\\n", " ")
    for page in PAGES
    for command in re.findall(r"^python \w+\.py (?:.*\\\n)*.*$", page.read_text(), re.MULTILINE)
    if not re.search(r"\.\.\.|net\.py|zoo:NAME", command)
]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("run")
    return save_digits_network(folder / "teacher.pth"), save_digits_network(folder / "student.pth", kept=200)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_parsed(command: str, stand_ins: tuple[Path, Path]) -> None:
    teacher, student = map(str, stand_ins)
    _, script, *words = shlex.split(command, comments=True)
    for place, word in enumerate(words):
        if word.endswith(".pth"):
            words[place] = student if words[place - 1] == "--path_s_load" else teacher
    importlib.import_module(script.removesuffix(".py")).parse_args(words)


def test_the_readme_names_every_script_and_page() -> None:
    scripts = {path.name for path in ROOT.glob("*.py")} - {"rlnet.py", "rlnet_command.py"}
    assert {name for name in scripts if f"`{name}`" not in README} == set()
    assert {page.name for page in PAGES[1:] if f"(docs/{page.name})" not in README} == set()
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_docs_arrive(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        found = page.parent / file if file else page
        assert found.exists(), target
        headings = re.findall(r"^#+ (.*)$", found.read_text(), re.MULTILINE) if anchor else []
        anchors = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not anchor or anchor in anchors, target
