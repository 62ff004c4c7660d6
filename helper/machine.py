"""The machine: its cores and how torch shares them, and which versions figures come from."""

from __future__ import annotations

import math
import os
import platform
from importlib import metadata
from pathlib import Path, PurePosixPath


def processor_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    packages = {name: metadata.version(name) for name in ("torch", "torchvision", "numpy")}
    return {"python": platform.python_version(), **packages}


def visible_cores() -> int:
    """Those that this process may run on: a scheduler may have given it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_cores() -> int:
    """Those that this process is given time on, by its affinity and by its container's quota."""
    return max(1, math.ceil(min(visible_cores(), cgroup_cores())))


def cgroup_cores(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """The cores' worth of time that the process's control groups, and those above them, allow; infinite without any.

    Of version 1 and 2, and of both at once: `membership` lists lines 'number:controllers:path', and only version 2
    names no controllers.
    """
    allowed = math.inf
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, path = line.split(":", 2)
        group = PurePosixPath(path.lstrip("/"))
        # A container sees its own group as the root, although the path may be the one outside: every level is asked.
        for level in (group, *group.parents):
            if not controllers:
                allowed = min(allowed, _cores_of(root / level / "cpu.max"))
            elif "cpu" in controllers.split(","):
                folder = root / "cpu" / level
                allowed = min(allowed, _cores_of(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us"))
    return allowed


def _cores_of(*files: Path) -> float:
    """Quota by period, which the files hold in this order; 'max' and -1 are no quota."""
    if not all(file.is_file() for file in files):
        return math.inf
    quota, period = " ".join(file.read_text() for file in files).split()
    return math.inf if quota in ("max", "-1") else int(quota) / int(period)


def share_cores() -> None:
    """Let torch's threads sleep while they wait for one another, and be no more than the cores there is time on.

    By default OpenMP's threads spin at every barrier: beside other work, or above a container's quota, they burn the
    time of the one they wait for. OpenMP reads its environment once, as torch loads; what is set there already wins.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if available_cores() < visible_cores():  # else torch counts them itself, without hyperthreads
        os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))
