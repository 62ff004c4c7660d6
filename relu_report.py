"""Where networks keep their ReLUs, what that costs, and how alike their masks are.

    python relu_report.py save/student_model/stage2/RUN/Customresnet20_stage2_best_TA0.0.pth
    python relu_report.py CHECKPOINT zoo:cifar10_resnet20_25pct_24 --network wan --out report.json --figures DIR

Of every checkpoint, layer by layer: ReLUs kept, channels that have become linear, layers that are closed, and what its
ReLUs would cost in private inference, estimated from the constants of this project. Of every two of one network: the
overlap of their masks, by layer. Figures: the masks side by side, the overlap, the ReLUs of each network.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from formats.measured import Kept, Layer
from helper import command_line
from helper.files import write_json
from helper.run_folder import checkpoint_name
from helper.text import table
from masks.counting import mask_arrays
from models.restore import load_model
from private_inference.costs.estimate import load_constants, relu_layer_costs, rough_costs, rough_seconds
from private_inference.costs.link import NETWORKS, Network, network
from private_inference.costs.measurement import load_subject
from private_inference.engine.protocols import PROTOCOLS, EngineSettings, settle_set_up
from private_inference.program.comparison import in_bits
from reporting.figure_style import save_figure
from reporting.figures import relus_per_layer
from reporting.masks import Masks, describe_masks, masks_side_by_side, overlap_figure, overlap_table, overlaps

SCHEMA = "rlnet-relu-report-1"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "checkpoints",
        nargs="+",
        type=command_line.checkpoint_file,
        metavar="CHECKPOINT",
        help=f"of any stage: {command_line.CHECKPOINT}",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write all figures as JSON (default: the text alone)")
    parser.add_argument("--figures", type=Path, metavar="DIR", help="draw them, as PNG and PDF (default: none)")
    group = parser.add_argument_group("private inference")
    group.add_argument(
        "--protocol", choices=PROTOCOLS, default="cheetah", help="that costs are estimated for (default: cheetah)"
    )
    group.add_argument(
        "--network",
        type=network,
        default=NETWORKS["wan"],
        metavar="|".join([*NETWORKS, "BANDWIDTH,RTT"]),
        help="between the parties: a name, or Mbit/s and ms there and back, such as 400,4 (default: wan)",
    )
    group.add_argument(
        "--comparison", type=int, choices=(32, 64), default=32, help="bits of every comparison (default: 32)"
    )
    group.add_argument(
        "--branch", type=command_line.not_negative, default=0, metavar="N", help="batch-norm branch (default: 0)"
    )
    return parser.parse_args(argv)


def describe(path: Path, branch: int, settings: EngineSettings, link: Network) -> tuple[dict, Masks]:
    """What JSON says of a checkpoint, and its masks."""
    subject = load_subject(path, branch, fused=True, save_dir="")
    masks = mask_arrays(load_model(path)[0])
    constants = load_constants().protocols[settings.protocol]
    costs = rough_costs(in_bits(subject.program, settings.comparison), constants, settings)
    by_layer = relu_layer_costs(costs, link)
    layers = [layer | {"private": by_layer.get(layer["layer"])} for layer in describe_masks(masks)]
    known = ("file", "sha256", "model", "dataset", "stage", "relus")
    found = {name: value for name, value in subject.record.as_json().items() if name in known}
    found["relus"] |= {"layers": layers}
    return found | {"private": rough_seconds(costs, link, subject.record.relus.kept)}, masks


def relu_table(found: dict) -> str:
    rows = [["layer", "ReLUs", "of", "%", "linear channels", "MB", "rounds", "s"]]
    for layer in found["relus"]["layers"]:
        share = f"{100 * layer['kept'] / layer['total']:.1f}"
        linear = f"{layer['linear_channels']} of {layer['channels']}"
        if cost := layer["private"]:
            priced = [f"{cost['bytes'] / 1e6:.3f}", f"{cost['rounds']:.0f}", f"{cost['seconds']:.3f}"]
        else:
            priced = ["closed", "", ""]
        rows.append([layer["layer"], f"{layer['kept']:,}", f"{layer['total']:,}", share, linear, *priced])
    relus, private = found["relus"], found["private"]
    closed = sum(not layer["kept"] for layer in relus["layers"])
    counts = [sum(layer[key] for layer in relus["layers"]) for key in ("linear_channels", "channels")]
    whole = [f"{private['bytes'] / 1e6:.3f}", f"{private['rounds']:.0f}", f"{private['seconds']['total']:.3f}"]
    share = f"{100 * relus['kept'] / relus['total']:.1f}"
    rows.append(
        ["whole network", f"{relus['kept']:,}", f"{relus['total']:,}", share, "{:,} of {:,}".format(*counts), *whole]
    )
    return f"{table(rows)}\n{closed} of {len(relus['layers'])} ReLU layers are closed: they keep none."


def counted(found: dict) -> Kept:
    layers = [{key: layer[key] for key in Layer.model_fields} for layer in found["relus"]["layers"]]
    return Kept(**{**found["relus"], "layers": layers})


def drawn(networks: list[dict], every: list[Masks], names: list[str], shared: list[dict]) -> dict[str, Figure]:
    figures = {"masks": masks_side_by_side(every, names)}
    figures |= {f"relus_{number}": relus_per_layer(counted(found)) for number, found in enumerate(networks, 1)}
    return figures | ({"overlap": overlap_figure(shared)} if shared else {})


def main(args: argparse.Namespace) -> None:
    settings = EngineSettings(
        args.protocol, args.comparison, set_up=settle_set_up(args.protocol, EngineSettings.set_up)
    )
    described = [describe(path, args.branch, settings, args.network) for path in args.checkpoints]
    networks, every = [found for found, _ in described], [masks for _, masks in described]
    names = [f"{number}  {checkpoint_name(path)}" for number, path in enumerate(args.checkpoints, 1)]
    shared = overlaps(every)
    for name, found in zip(names, networks, strict=True):
        print(f"{name}: {found['model']} on {found['dataset']}\n{relu_table(found)}\n")
    if shared:
        print(f"{overlap_table(shared)}\n")
    print(
        f"MB, rounds and s of an image are ESTIMATED for {args.protocol} over {args.network.in_words()}. Nothing was "
        "run. A layer's are without the correlations that are made ahead for all of them."
    )
    if args.out:
        about = {"protocol": args.protocol, "comparison": args.comparison, "network": asdict(args.network)}
        write_json(args.out, {"schema": SCHEMA, **about, "networks": networks, "overlap": shared})
        print(f"written to {args.out}")
    if args.figures:
        args.figures.mkdir(parents=True, exist_ok=True)
        for name, figure in drawn(networks, every, names, shared).items():
            save_figure(figure, args.figures / name)
        print(f"figures are in {args.figures}")


if __name__ == "__main__":
    run_script(main, parse_args)
