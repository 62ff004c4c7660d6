"""What every benchmark begins and ends with: its options, the machine it runs on, and the file of its figures."""

from __future__ import annotations

from helper.machine import available_cores, this_machine, versions

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from helper import command_line
from helper.files import write_json


def add_timing_options(
    parser: command_line.Parser, *, repeats: int = 5, device: str = "cpu", threads: str = "on a CPU"
) -> None:
    """`threads` says in the help what they are for."""
    group = parser.add_argument_group("measuring")
    group.add_argument(
        "--repeats", type=command_line.positive, default=repeats, help=f"timed turns of each (default: {repeats})"
    )
    group.add_argument("--threads", type=command_line.thread_count, default=1, help=f"{threads} (default: 1)")
    group.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default=device,
        help=f"auto: a GPU if there is one (default: {device})",
    )
    group.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON too")


def describe_machine(device: torch.device) -> dict:
    """What the figures were measured on, also printed."""
    machine = {
        **this_machine(),
        "available_cores": available_cores(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        **versions(),
    }
    print(", ".join(f"{key}: {value}" for key, value in machine.items()))
    return machine


def write_figures(options: Mapping[str, Any], machine: dict, figures: dict) -> None:
    """Into the file of the option `out`, where it is given, with the other options."""
    if out := options["out"]:
        settings = {key: value for key, value in options.items() if key != "out"}
        write_json(out, {"machine": machine, "settings": settings, **figures})
        print(f"written to {out}")
