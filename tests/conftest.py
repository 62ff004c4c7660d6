"""What a test session runs, and what it says of itself."""

from __future__ import annotations

import gc
import os
from collections import Counter

if "PYTEST_XDIST_WORKER" in os.environ:  # workers side by side: before torch counts the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from helper.machine import available_cores

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Torch is for those who run tests: not for the process that shares them out to workers."""
    shares_out = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if not shares_out:
        config.pluginmanager.import_plugin("support.fixtures")


def pytest_report_header() -> str:
    return f"cores: {available_cores()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers side by side begin with the files that take longest, so that they end together; `long` ones are left out
    unless -m names them.
    """
    if hasattr(config, "workerinput"):
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)
    if "long" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    gc.freeze()  # what is imported stays: no collection of garbage need look through it


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a GPU: make check-gpu runs it there")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(report.longrepr[2] for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")
