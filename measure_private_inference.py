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
private_inference.json and .csv and figures into save/private_inference/<name>/, with --estimate-only estimate.json into
a folder of its own there. Needs the secure engine, but for estimates: `make pi`.
"""

from __future__ import annotations

from helper.machine import available_cores
from helper.script import end_on_sigterm, run_script

import argparse
import hashlib
from dataclasses import asdict, replace

import numpy as np

from dataset import DatasetSpec, dataset_spec
from formats.private_costs import EngineRecord, EstimatedCosts, Estimates, LinkRecord
from helper import command_line
from helper.errors import UserError
from helper.files import real_path, write_json
from helper.run_folder import checkpoint_name, plain_arguments
from helper.text import table
from private_inference.costs.estimate import (
    estimate_sentences,
    estimate_table,
    load_constants,
    rough_costs,
    rough_seconds,
)
from private_inference.costs.measurement import (
    Bench,
    compared_in,
    first_images,
    images_to_try,
    load_subject,
    measured,
    served,
    with_estimates,
)
from private_inference.costs.options import add_options
from private_inference.costs.pins import PinnedPrograms
from private_inference.costs.plan import Apart, Plan
from private_inference.costs.report import CostReport
from private_inference.engine.parties import Assignment, check_engine
from private_inference.engine.protocols import EngineSettings, settle_set_up

LOOPBACK = LinkRecord(kind="loopback", name=None, bandwidth=None, rtt=None)
TRIED = 256  # test images that the bounds of comparisons are checked on


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.first = ("path", "images", "protocol", "network", "emulate", "estimate_only", "run_name")
    add_options(parser)
    args = parser.parse_args(argv)
    check_options(args)
    return args


def check_options(args: argparse.Namespace) -> None:
    """Raise UserError for options that do not go together."""
    alone = {"--listen": args.listen, "--peer": args.peer}
    if args.role:
        if missing := [name for name, value in alone.items() if value is None]:
            raise UserError(f"--role {args.role} needs {' and '.join(missing)}")
        if args.network or args.emulate or args.estimate_only:
            raise UserError("--network, --emulate and --estimate-only run on one machine, without --role")
    elif given := [
        name for name, value in {**alone, "--digest": args.digest, "--dataset": args.dataset}.items() if value
    ]:
        raise UserError(f"{', '.join(given)}: only with --role, which runs one party")
    if args.role == "client":
        if args.path or not args.dataset:
            raise UserError("--role client takes --dataset, and no --path: the network is the server's secret")
    elif not args.path or (args.role and len(args.path) > 1):
        raise UserError(f"--path: name {'the checkpoint' if args.role else 'one or more checkpoints'}")
    if args.role == "server" and (args.dataset or args.digest or args.images or args.batch > 1):
        raise UserError(
            "--dataset, --images, --batch and --digest are the client's: it brings the images, and may refuse a program"
        )
    if args.tls and not args.role:
        raise UserError("--tls: only with --role; two parties of one machine talk over loopback")
    if missing := [str(path) for path in args.tls or () if not path.is_file()]:
        raise UserError(f"--tls: {', '.join(missing)}: no such file")
    if args.images and args.images % args.batch:
        raise UserError(f"--images {args.images} is no multiple of --batch {args.batch}")
    if args.emulate and len(args.network) != 1:
        raise UserError("--emulate measures over one network; name it, such as --network wan")
    if args.estimate_only and not args.network:
        raise UserError("--estimate-only needs a network to estimate for, such as --network lan wan")


def settle(args: argparse.Namespace) -> Plan:
    emulated = args.network[0] if args.emulate else None
    tls = None
    if args.tls:
        certificate, key, authority = (str(real_path(path)) for path in args.tls)
        tls = certificate, key, authority
    settings = EngineSettings(
        protocol=args.protocol,
        comparison=args.comparison,
        batch=args.batch,
        set_up=settle_set_up(args.protocol, args.set_up),
        threads=args.threads or available_cores(),
        timeout=args.timeout,
        tls=tls,
    )
    return Plan(
        paths=tuple(args.path or ()),
        branch=args.branch,
        fuse=args.fuse,
        images=args.images or max(4, 2 * args.batch) // args.batch * args.batch,
        settings=settings,
        engine_python=args.engine_python,
        networks=() if args.emulate else tuple(args.network),
        emulated=emulated,
        estimate_only=args.estimate_only,
        apart=Apart(args.role, args.listen, args.peer, args.digest, args.dataset) if args.role else None,
        data_root=args.data_root,
        download=not args.no_download,
        save_dir=args.save_dir,
        run_name=args.run_name,
        again=args.again,
        recorded={
            **plain_arguments(vars(args)),
            "path": [str(path) for path in args.path or ()],
            "network": [link.name for link in args.network],
            "tls": [str(path) for path in args.tls or ()],
        },
    )


def compare(plan: Plan) -> None:
    """Run both parties here, for one checkpoint after the other."""
    bench = Bench(plan.engine_python, plan.settings, plan.emulated)
    subjects = [load_subject(path, plan.branch, fused=plan.fuse, save_dir=plan.save_dir) for path in plan.paths]
    name = default_name(plan)
    link = LinkRecord(kind="emulated", **asdict(plan.emulated)) if plan.emulated else LOOPBACK
    report = cost_report(plan, link, f"{name}_{plan.emulated.name}" if plan.emulated else name)
    for subject in subjects:
        found = report.earlier(subject.record)
        if found is None:
            tried = tried_images(plan, subject.data)
            images, labels, _ = first_images(subject.data, plan.images, plan.data_root, download=plan.download)
            found = bench.measure(compared_in(subject, plan.settings.comparison, tried), images, labels)
        # What a network would add to seconds that were measured without one.
        report.add(with_estimates(found.model_copy(update=dict(subject.record)), plan.networks))
    report.finish()


def serve(plan: Plan, apart: Apart) -> None:
    """Be the server for one client."""
    bench = Bench(plan.engine_python, plan.settings)
    subject = load_subject(plan.paths[0], plan.branch, fused=plan.fuse, save_dir=plan.save_dir)
    subject = compared_in(subject, plan.settings.comparison, tried_images(plan, subject.data))
    print(f"{subject.record.label}; the digest of its public program is {subject.digest}")
    answer = bench.run([Assignment("server", apart.listen, apart.peer, (subject.program, subject.about))])["server"]
    # Only now is it known for how many images the client asked.
    batch = answer.result.batch
    plan = replace(plan, images=answer.result.images, settings=replace(plan.settings, batch=batch))
    report = cost_report(plan, link_of(apart), f"server_{checkpoint_name(plan.paths[0])}_{plan.settings.protocol}")
    report.add(measured(subject.record, answer))
    report.finish()


def ask(plan: Plan, apart: Apart) -> None:
    """Be the client, and learn what the server's network says about its images."""
    assert apart.dataset is not None  # a client's
    bench = Bench(plan.engine_python, plan.settings)
    data = dataset_spec(apart.dataset)
    images, labels, classes = first_images(data, plan.images, plan.data_root, download=plan.download)
    report = cost_report(plan, link_of(apart), f"client_{data.name}_{plan.settings.protocol}")
    pins = PinnedPrograms(plan.save_dir)
    client = Assignment("client", apart.listen, apart.peer, images, apart.digest or pins.digest_of(apart.peer))
    answer = bench.run([client], plan.images)["client"]
    assert answer.logits is not None  # they are the client's
    if pins.pin(apart.peer, answer.result.digest):
        print(f"from now on {apart.peer} is expected to have the program {answer.result.digest} ({pins.path})")
    known = served(answer.result.about, file=f"a network of {apart.peer}, which keeps its weights")
    report.add(measured(known, answer))
    report.finish()
    rows = [["image", "label", "predicted", "logit"]]
    for number, (label, logits) in enumerate(zip(labels, answer.logits, strict=True)):
        best = int(logits.argmax())
        named = [classes[index] if index < len(classes) else str(index) for index in (label, best)]
        rows.append([str(number), *named, f"{logits[best]:.4f}"])
    print(table(rows))


def guess(plan: Plan) -> None:
    """Run nothing: what our constants say."""
    known, rows = load_constants(), []
    for path in plan.paths:
        subject = load_subject(path, plan.branch, fused=plan.fuse, save_dir=plan.save_dir)
        tried = tried_images(replace(plan, download=False), subject.data)  # an estimate is worth no download
        subject = compared_in(subject, plan.settings.comparison, tried)
        costs = rough_costs(subject.program, known.protocols[plan.settings.protocol], plan.settings)
        record = subject.record
        rows += [
            EstimatedCosts.model_validate(record.as_json() | rough_seconds(costs, link, record.relus.kept))
            for link in plan.networks
        ]
    folder = plan.folder(f"{default_name(plan)}_estimate")
    engine = EngineRecord(**plan.settings.described(), batch=plan.settings.batch)
    protocol = plan.settings.protocol
    written = Estimates(protocol=protocol, engine=engine, constants=known, estimates=tuple(rows))
    write_json(folder / "estimate.json", written.as_json())
    print(estimate_table(rows), *estimate_sentences(known.machine, plan.settings, plan.networks), sep="\n")
    print(f"written to {folder}")


def tried_images(plan: Plan, data: DatasetSpec) -> np.ndarray:
    """What the bounds of 32-bit comparisons are checked on; says where there is nothing."""
    if plan.settings.comparison == 64:
        return np.zeros(0, np.float32)
    tried = images_to_try(data, max(TRIED, plan.images), plan.data_root, download=plan.download)
    if not len(tried):
        print(f"note: {data.title} is not in --data_root, so nothing was tried: comparisons are in 64 bits")
    return tried


def cost_report(plan: Plan, link: LinkRecord, name: str) -> CostReport:
    recorded, again = dict(plan.recorded), plan.again
    return CostReport(plan.folder(name), plan.settings, plan.images, link, recorded=recorded, again=again)


def link_of(apart: Apart) -> LinkRecord:
    """Two parties that were started each by itself may be on one machine all the same."""
    hosts = {address.rpartition(":")[0] for address in (apart.listen, apart.peer)}
    here = all(host == "localhost" or host.startswith("127.") for host in hosts)
    return LOOPBACK.model_copy(update={"kind": "own_machine" if here else "network"})


def default_name(plan: Plan) -> str:
    """Of one checkpoint or several: the first one's, and a digest of the others' names."""
    others = [str(path) for path in plan.paths[1:]]
    more = hashlib.sha256("\n".join(others).encode()).hexdigest()[:6]
    named = f"_and_{len(others)}_more_{more}" if others else ""
    batch = f"_batch{plan.settings.batch}" if plan.settings.batch > 1 else ""
    return f"{checkpoint_name(plan.paths[0])}{named}_{plan.settings.protocol}{batch}"


def main(args: argparse.Namespace) -> None:
    end_on_sigterm()  # in an orderly way, in which the parties are told
    plan = settle(args)
    if plan.estimate_only:
        guess(plan)
        return
    check_engine(plan.engine_python)
    if plan.apart:
        {"client": ask, "server": serve}[plan.apart.role](plan, plan.apart)
    else:
        compare(plan)


if __name__ == "__main__":
    run_script(main, parse_args)
