"""The secure engine used naively against how this repository uses it: the same weights, one run, turn by turn.

    python -m benchmarks.bench_private --path zoo:cifar10_resnet20_25pct_24 --protocol cheetah semi2k --links wan

naive compares the whole map of every ReLU layer, kept or not, in 64 bits, one image after the other, in one thread,
each convolution as the engine has it. What masks keep would then be chosen from both maps, alone and for nothing.
"masks alone" compares what they keep, and is naive else.
Links other than loopback are emulated, which needs root. Bytes and rounds are exact; seconds compare within one run.
"""

from __future__ import annotations

from helper.machine import available_cores, this_machine
from helper.script import run_script

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from helper import command_line
from helper.errors import UserError
from helper.files import write_json
from helper.text import table
from models.layers import relu_sites
from models.restore import load_model
from private_inference.costs.link import NETWORKS
from private_inference.costs.measurement import (
    Bench,
    Subject,
    compared_in,
    first_images,
    images_to_try,
    load_subject,
)
from private_inference.engine.cost import Costs
from private_inference.engine.parties import ENGINE_PYTHON, check_engine
from private_inference.engine.protocols import PROTOCOLS, EngineSettings, settle_set_up
from private_inference.program.fuse import fuse
from private_inference.program.trace import build_program


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument("--path", type=command_line.checkpoint_file, required=True, metavar=command_line.CHECKPOINT)
    parser.add_argument("--protocol", nargs="+", choices=PROTOCOLS, default=["cheetah"])
    parser.add_argument("--links", nargs="+", choices=("loopback", *NETWORKS), default=["loopback"])
    parser.add_argument(
        "--batch", type=command_line.positive, default=8, metavar="N", help="of the last row (default: 8)"
    )
    parser.add_argument(
        "--threads", type=command_line.thread_count, default=available_cores(), metavar="N", help="default: the cores"
    )
    parser.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures as JSON too")
    return parser.parse_args(argv)


def everything_compared(subject: Subject) -> Subject:
    """The same weights with every position of every ReLU layer compared."""
    model, _ = load_model(subject.path)
    for site in relu_sites(model).values():
        site.set_mask(torch.ones(site.map_shape, dtype=torch.bool))
    return replace(subject, program=fuse(build_program(model, subject.about.branch)))


def main(args: argparse.Namespace) -> None:
    check_engine(ENGINE_PYTHON)
    subject = load_subject(args.path, 0, fused=True, save_dir="")
    tried = images_to_try(subject.data, 256, args.data_root, download=False)
    if not len(tried):
        raise UserError(f"{subject.data.title} is not in --data_root {args.data_root}")
    naive, ours = everything_compared(subject), compared_in(subject, 32, tried)
    rows, found = (
        [["protocol", "link", "use", "MB", "ReLU MB", "rounds", "set-up s", "seconds an image", "same class"]],
        [],
    )
    for protocol in args.protocol:
        for link in args.links:
            network = NETWORKS.get(link)
            once = settle_set_up(protocol, "yacl")
            plain = EngineSettings(protocol, comparison=64, set_up=once, timeout=600, layouts=False)
            best = EngineSettings(protocol, set_up=once, threads=args.threads, timeout=600)
            uses = {
                "naive": (naive, plain),
                "masks alone": (compared_in(subject, 64, tried), plain),
                "ours": (ours, best),
                f"ours, {args.batch} at once": (ours, replace(best, batch=args.batch)),
            }
            for use, (program, settings) in uses.items():
                images, labels, _ = first_images(subject.data, 2 * settings.batch, args.data_root, download=False)
                record = Bench(ENGINE_PYTHON, settings, network).measure(program, images, labels)
                costs = Costs.from_record(record.costs)
                warm, set_up = costs.total("warm"), costs.set_up
                agreed = f"{record.agreement.same_class}/{record.agreement.images}" if record.agreement else "-"
                size = f"{warm.bytes / 1e6:.2f}", f"{costs.part('relu', 'warm').bytes / 1e6:.2f}"
                seconds = f"{set_up.seconds:.1f}" if set_up else "-", f"{warm.seconds:.2f}"
                rows.append([protocol, link, use, *size, f"{warm.rounds:.1f}", *seconds, agreed])
                found.append({"protocol": protocol, "link": link, "use": use, **record.as_json()})
                print(table(rows[:1] + rows[-1:]), flush=True)
    print(f"{subject.record.label}, {this_machine()['processor']}, {args.threads} threads", table(rows), sep="\n")
    if args.out:
        write_json(args.out, {"machine": this_machine(), "file": str(args.path), "measured": found})


if __name__ == "__main__":
    run_script(main, parse_args)
