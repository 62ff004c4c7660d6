"""What one run of private inference does: settled once, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from helper.run_folder import default_folder
from private_inference.costs.link import Network
from private_inference.engine.protocols import EngineSettings


@dataclass(frozen=True)
class Apart:
    """One party, the other of which runs elsewhere. A client has a `dataset`, and perhaps a `digest` to insist on."""

    role: str
    listen: str
    peer: str
    digest: str | None
    dataset: str | None


@dataclass(frozen=True)
class Plan:
    """`recorded` are the options as they were given; `emulated` is the link to measure over, `networks` to estimate.

    `apart`: None where both parties run here.
    """

    paths: tuple[Path, ...]
    branch: int
    fuse: bool
    images: int
    settings: EngineSettings
    engine_python: Path
    networks: tuple[Network, ...]
    emulated: Network | None
    estimate_only: bool
    apart: Apart | None
    data_root: str
    download: bool
    save_dir: str
    run_name: str | None
    again: bool
    recorded: Mapping[str, object]

    def folder(self, name: str) -> Path:
        """Of --run_name, or `name`, shortened where that is long."""
        parent = Path(self.save_dir, "private_inference")
        kind = "estimate" if self.estimate_only else self.apart and self.apart.role
        network = self.paths[0].stem.replace("_best", "") if self.paths else None
        readable = "_".join(part for part in (self.settings.protocol, kind, network) if part)
        return parent / self.run_name if self.run_name else default_folder(parent, name, readable)
