"""Entries that register themselves: whoever adds a file to a room adds what the file holds, and edits nothing else."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Protocol, TypeVar


class Named(Protocol):
    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=Named)


def discover(package: str, kind: type[Entry]) -> dict[str, Entry]:
    """{entry.name: entry} of the instances of `kind` that the modules of `package` hold at their top level.

    In the order of their `order`, where they have one, and of their names. Raises ValueError where two share a name.
    """
    found: dict[str, Entry] = {}
    for module in modules_of(package):
        for entry in vars(module).values():
            if isinstance(entry, kind) and found.setdefault(entry.name, entry) is not entry:
                raise ValueError(f"two entries of {package} are called {entry.name}")
    return dict(sorted(found.items(), key=lambda item: (getattr(item[1], "order", 0), item[0])))


def modules_of(package: str) -> list[ModuleType]:
    """The modules of a package, in the order of their names."""
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return [importlib.import_module(f"{package}.{module.name}") for module in found]
