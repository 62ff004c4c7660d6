"""Entries that register themselves: whoever adds a file to a room adds what the file holds, and edits nothing else."""

from __future__ import annotations

import importlib
import pkgutil
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
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        for entry in vars(importlib.import_module(f"{package}.{module.name}")).values():
            if isinstance(entry, kind) and found.setdefault(entry.name, entry) is not entry:
                raise ValueError(f"two entries of {package} are called {entry.name}")
    return dict(sorted(found.items(), key=lambda item: (getattr(item[1], "order", 0), item[0])))
