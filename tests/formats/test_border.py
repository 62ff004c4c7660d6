"""Whatever a file holds ends in its model or in one line, in little time and memory; what a model writes, it reads."""

from __future__ import annotations

import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.file_changes import changed, damaged
from support.file_examples import Kind, header, kinds

from helper.errors import UserError

KINDS = kinds()
READ = {**KINDS, "header": header()}
SECONDS, MEMORY = 2, 2**30  # that one file may take: of the processor, so that a busy machine fails nothing
FEW, MANY = 25, 2000
CHECKS = [
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.function_scoped_fixture,
    HealthCheck.filter_too_much,
]
COMMON = {"deadline": None, "database": None, "derandomize": True, "suppress_health_check": CHECKS}
COMMON |= {"phases": (Phase.generate, Phase.shrink)}
SHORT, LONG = settings(max_examples=FEW, **COMMON), settings(max_examples=MANY, **COMMON)


def same(one: Any, other: Any) -> bool:
    """Equal, tensors too."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@contextmanager
def within_limits() -> Iterator[None]:
    def too_slow(number: int, frame: object) -> None:
        raise AssertionError(f"a file took more than {SECONDS} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before, handler = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGPROF, too_slow)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def ends_well(kind: Kind, content: bytes, folder: Path) -> str:
    """As its model or in a UserError of one line, and which; whatever else is raised fails the test."""
    path = folder / kind.name
    path.write_bytes(content)
    said = None
    with within_limits():
        try:
            kind.read(path)
        except UserError as error:
            said = str(error)
    assert said is None or ((kind.says or str(path)) in said and len(said) < 2000)
    return "read" if said is None else "one line"


def check_changes(name: str, data: st.DataObject, folder: Path) -> str:
    kind = READ[name]
    try:
        content = kind.write(data.draw(changed(kind.content)))
    except (UnicodeEncodeError, OverflowError, RecursionError, TypeError):  # what no writer would write either
        assume(False)
    return ends_well(kind, content, folder)


def check_damage(name: str, data: st.DataObject, folder: Path) -> str:
    kind = READ[name]
    return ends_well(kind, data.draw(damaged(kind.write(kind.content))), folder)


@pytest.mark.parametrize("name", READ)
@given(data=st.data())
@SHORT
def test_changed_fields_end_well(name: str, tmp_path: Path, data: st.DataObject) -> None:
    check_changes(name, data, tmp_path)


@pytest.mark.parametrize("name", READ)
@given(data=st.data())
@SHORT
def test_damaged_bytes_end_well(name: str, tmp_path: Path, data: st.DataObject) -> None:
    check_damage(name, data, tmp_path)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("check", [check_changes, check_damage])
@pytest.mark.parametrize("name", READ)
def test_thousands_end_well(name: str, check: Callable[..., str], tmp_path: Path, capsys) -> None:
    """How they ended, and what they took, is printed."""
    ends: Counter[str] = Counter()
    slowest = 0.0

    def counted(data: st.DataObject) -> None:
        nonlocal slowest
        before = time.process_time()
        ends[check(name, data, tmp_path)] += 1
        slowest = max(slowest, time.process_time() - before)

    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    LONG(given(data=st.data())(counted))()
    with capsys.disabled():
        took = f"slowest {slowest:.2f} s, {(memory('VmHWM') - before) / 2**20:.0f} MiB more at most"
        print(f"\n{name}, {check.__name__}: {ends.total()} mutations: {dict(ends)}; {took}")


def memory(what: str) -> int:
    """Bytes of this process: VmRSS, now; VmHWM, at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(what))


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_is_read_back_equal(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    path = tmp_path / kind.name
    path.write_bytes(kind.write(kind.content))
    assert same(kind.read(path).model_dump(), kind.model.model_validate(kind.content).model_dump())


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.plain])
@given(data=st.data())
@SHORT
def test_whatever_is_valid_is_read_back_equal(name: str, tmp_path: Path, data: st.DataObject) -> None:
    """Of changed contents those that are valid still."""
    kind = KINDS[name]
    try:
        found = kind.model.model_validate(data.draw(changed(kind.content)))
        content = kind.write(found.as_json())
    except (ValidationError, UnicodeEncodeError, TypeError, ValueError):
        assume(False)
    (tmp_path / kind.name).write_bytes(content)
    try:
        again = kind.read(tmp_path / kind.name)
    except UserError as error:  # the door takes less than YAML can say
        assume(not any(word in str(error) for word in ("no finite number", "nested")))
        raise
    assert again == found
