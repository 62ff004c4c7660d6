"""Private inference, run for real: two processes over TCP, one with the images, one with the weights.

    python measure_private_inference.py --path CHECKPOINT --protocol cheetah --images 4
    python measure_private_inference.py --path TEACHER STUDENT_82K STUDENT_25K --protocol semi2k --network lan wan
    python measure_private_inference.py --path CHECKPOINT --protocol semi2k --network wan --emulate
    python measure_private_inference.py --path CHECKPOINT --network wan --estimate-only

Across machines, each side started by its owner and holding only its own secret:

    python measure_private_inference.py --role server --path CHECKPOINT --listen 10.0.0.2:9500 --peer 10.0.0.1:9500
    python measure_private_inference.py --role client --dataset cifar10 --listen 10.0.0.1:9500 --peer 10.0.0.2:9500

Only the client learns the logits; the server's weights never leave it. What both know is the public program: the
layers, their shapes, and which ReLUs the mask keeps. A kept ReLU is compared in secret, all others cost nothing. Writes
private_inference.json and .csv and figures into save/private_inference/<name>/. Needs the secure engine: `make pi`.
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from helper.script import run_script

from dataset import dataset_spec
from dataset.options import add_dataset_option
from helper import command_line
from helper.errors import UserError
from helper.files import write_json
from helper.run_folder import checkpoint_name
from helper.text import table
from private_inference.costs.estimate import (
    estimate_sentences,
    estimate_table,
    load_constants,
    rough_costs,
    rough_seconds,
)
from private_inference.costs.link import NETWORKS, Network, network
from private_inference.costs.measurement import Bench, estimates, first_images, load_subject, measured, unmeasured
from private_inference.costs.report import CostReport
from private_inference.engine.parties import ENGINE_PYTHON, Assignment, check_engine
from private_inference.engine.protocols import PROTOCOLS

LOOPBACK = {"kind": "loopback", "name": None, "bandwidth": None, "rtt": None}
NETWORK = {**LOOPBACK, "kind": "network"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "--path",
        nargs="+",
        type=command_line.checkpoint_file,
        metavar=command_line.CHECKPOINT,
        help="checkpoints of any stage; several: compared",
    )
    parser.add_argument(
        "--branch", type=command_line.not_negative, default=0, metavar="N", help="batch-norm branch (default: 0)"
    )
    parser.add_argument("--no_fuse", dest="fuse", action="store_false", help="leave convolutions as they are")
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="cheetah",
        help="cheetah: two parties and nobody else (default); semi2k: a trusted dealer, here in the client's process, "
        "makes the randomness beforehand, so that only the online cost is measured",
    )
    parser.add_argument(
        "--images",
        type=command_line.positive,
        default=4,
        metavar="N",
        help="the first N test images, one after the other; the first is cold: it pays for the engine's one-off set-up "
        "(default: 4)",
    )
    parser.add_argument(
        "--timeout",
        type=command_line.positive,
        default=120,
        metavar="SECONDS",
        help="wait for the other party at most so long (default: 120)",
    )
    parser.add_argument(
        "--engine_python", type=Path, default=ENGINE_PYTHON, metavar="FILE", help="default: that of `make pi`"
    )

    group = parser.add_argument_group("network")
    group.add_argument(
        "--network",
        nargs="+",
        type=network,
        default=[],
        metavar="|".join([*NETWORKS, "BANDWIDTH,RTT"]),
        help=f"estimate the seconds over these links too, from the measured bytes and rounds: "
        f"{'; '.join(link.in_words() for link in NETWORKS.values())}; or Mbit/s and ms there and back, such as 400,4",
    )
    group.add_argument(
        "--emulate", action="store_true", help="measure over --network instead, in two network namespaces (root)"
    )
    group.add_argument(
        "--estimate-only",
        "--estimate_only",
        action="store_true",
        help="run nothing: estimate from the constants in private_inference/costs/constants.yaml",
    )

    group = parser.add_argument_group("one party alone")
    group.add_argument("--role", choices=("client", "server"), help="be this party; the other one runs elsewhere")
    group.add_argument("--listen", type=address, metavar="HOST:PORT", help="where this party is reached")
    group.add_argument("--peer", type=address, metavar="HOST:PORT", help="where the other party is reached")
    group.add_argument(
        "--digest", metavar="HEX", help="client: agree to the public program of this digest and no other"
    )
    add_dataset_option(group, says="client: whose test images, ")

    group = parser.add_argument_group("files")
    group.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    group.add_argument("--no_download", action="store_true", help="never fetch a missing data set")
    group.add_argument("--save_dir", default="save", metavar="DIR", help="default: save")
    group.add_argument(
        "--run_name", type=command_line.folder_name, help="name of the folder (default: built from the options)"
    )
    group.add_argument("--again", action="store_true", help="measure checkpoints again that the folder holds already")
    args = parser.parse_args(argv)
    check_options(args)
    return args


def address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is no address; write host:port, such as 10.0.0.1:9500")
    return text


def check_options(args: argparse.Namespace) -> None:
    """Raise UserError for options that do not go together."""
    alone = {"--listen": args.listen, "--peer": args.peer}
    if args.role:
        if missing := [name for name, value in alone.items() if value is None]:
            raise UserError(f"--role {args.role} needs {' and '.join(missing)}")
        if args.emulate or args.estimate_only:
            raise UserError("--emulate and --estimate-only run on one machine, without --role")
    elif given := [
        name for name, value in {**alone, "--digest": args.digest, "--dataset": args.dataset}.items() if value
    ]:
        raise UserError(f"{', '.join(given)}: only with --role, which runs one party")
    if args.role == "client":
        if args.path or not args.dataset:
            raise UserError("--role client takes --dataset, and no --path: the network is the server's secret")
    elif not args.path or (args.role and len(args.path) > 1):
        raise UserError(f"--path: name {'the checkpoint' if args.role else 'one or more checkpoints'}")
    if args.role == "server" and (args.dataset or args.digest):
        raise UserError("--dataset and --digest are the client's: it brings the images, and may refuse the program")
    if args.emulate and len(args.network) != 1:
        raise UserError("--emulate measures over one network; name it, such as --network wan")
    if args.estimate_only and not args.network:
        raise UserError("--estimate-only needs a network to estimate for, such as --network lan wan")


def bench_of(args: argparse.Namespace, emulated: Network | None = None) -> Bench:
    check_engine(args.engine_python)
    return Bench(args.engine_python, args.protocol, args.timeout, emulated)


def compare(args: argparse.Namespace) -> None:
    """Run both parties here, for one checkpoint after the other."""
    emulated = args.network[0] if args.emulate else None
    bench = bench_of(args, emulated)
    subjects = [load_subject(path, args.branch, fused=args.fuse, save_dir=args.save_dir) for path in args.path]
    name = default_name(args)
    link = {"kind": "emulated", **asdict(emulated)} if emulated else LOOPBACK
    report = CostReport(args, link, f"{name}_{emulated.name}" if emulated else name)
    for subject in subjects:
        found = report.earlier(subject.record)
        if found is None:
            images, labels, _ = first_images(subject.data, args.images, args.data_root, download=not args.no_download)
            found = bench.measure(subject, images, labels)
        # What a network would add to seconds that were measured without one.
        report.add(found | subject.record | estimates(found, [] if emulated else args.network))
    report.finish()


def serve(args: argparse.Namespace) -> None:
    """Be the server for one client."""
    bench = bench_of(args)
    subject = load_subject(args.path[0], args.branch, fused=args.fuse, save_dir=args.save_dir)
    report = CostReport(args, NETWORK, f"server_{checkpoint_name(args.path[0])}_{args.protocol}")
    print(f"{subject.record['label']}; the digest of its public program is {subject.digest}")
    answer = bench.run([Assignment("server", args.listen, args.peer, (subject.program, subject.about))])["server"]
    report.results["images"] = answer.result["images"]
    report.add(subject.record | measured(answer))
    report.finish()


def ask(args: argparse.Namespace) -> None:
    """Be the client, and learn what the server's network says about its images."""
    bench = bench_of(args)
    data = dataset_spec(args.dataset)
    images, labels, classes = first_images(data, args.images, args.data_root, download=not args.no_download)
    report = CostReport(args, NETWORK, f"client_{data.name}_{args.protocol}")
    answer = bench.run([Assignment("client", args.listen, args.peer, images, args.digest)], args.images)["client"]
    report.add(unmeasured(answer.result["about"]) | measured(answer))
    report.finish()
    rows = [["image", "label", "predicted", "logit"]]
    for number, (label, logits) in enumerate(zip(labels, answer.logits, strict=True)):
        best = int(logits.argmax())
        named = [classes[index] if index < len(classes) else str(index) for index in (label, best)]
        rows.append([str(number), *named, f"{logits[best]:.4f}"])
    print(table(rows))


def guess(args: argparse.Namespace) -> None:
    """Run nothing: what our constants say."""
    known, rows = load_constants(), []
    for path in args.path:
        subject = load_subject(path, args.branch, fused=args.fuse, save_dir=args.save_dir)
        costs = rough_costs(subject.program, known["protocols"][args.protocol])
        rows += [
            {**subject.record, **rough_seconds(costs, link, subject.record["relus"]["kept"])} for link in args.network
        ]
    folder = Path(args.save_dir, "private_inference", args.run_name or f"{default_name(args)}_estimate")
    write_json(folder / "estimate.json", {"protocol": args.protocol, "constants": known, "estimates": rows})
    print(estimate_table(rows), *estimate_sentences(known["machine"], args.protocol, args.network), sep="\n")
    print(f"written to {folder}")


def default_name(args: argparse.Namespace) -> str:
    more = f"_and_{len(args.path) - 1}_more" if args.path[1:] else ""
    return f"{checkpoint_name(args.path[0])}{more}_{args.protocol}"


def main(args: argparse.Namespace) -> None:
    # The parties are told to end when this process ends in an orderly way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if args.estimate_only:
        guess(args)
    elif args.role:
        {"client": ask, "server": serve}[args.role](args)
    else:
        compare(args)


if __name__ == "__main__":
    run_script(main, parse_args)
