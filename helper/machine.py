"""The machine: its cores and how torch shares them, and which versions figures come from."""

from __future__ import annotations

import math
import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path, PurePosixPath

# Looks at a barrier before a thread sleeps. A resnet8 trained on two cores, steps a second: idle 15.9 by default, 15.7
# with this, a fifth less without any spin; beside two busy loops 4.5, 5.4 and 6.3.
SPINS = 3000


def processor_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def this_machine() -> dict[str, str | int | None]:
    """What figures of time depend on, where they are recorded."""
    system = f"{platform.system()} {platform.release()}"
    return {"processor": processor_name(), "cores": os.cpu_count(), "system": system}


def versions() -> dict[str, str]:
    """Of Python, of what computes, and, as rlnet, of this code (its commit in a checkout); and the processor."""
    found = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy"):
        with suppress(metadata.PackageNotFoundError):  # the environment of the secure engine has no torch
            found[name] = metadata.version(name)
    return found | own_version() | {"processor": processor_name()}


def own_version() -> dict[str, str]:
    words = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        commit = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
        return {"rlnet": commit or metadata.version("rlnet")}
    except (OSError, metadata.PackageNotFoundError):
        return {}


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
    time of the one they wait for. A short spin before they sleep keeps an idle machine as fast. OpenMP reads its
    environment once, as torch loads; what is set there already wins.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
    if available_cores() < visible_cores():  # else torch counts them itself, without hyperthreads
        os.environ.setdefault("OMP_NUM_THREADS", str(available_cores()))
