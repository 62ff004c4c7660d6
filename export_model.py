"""Write a checkpoint for other engines: normalisations folded, masks applied, linear layers made one where that pays.

    python export_model.py CHECKPOINT --format onnx --out model.onnx
    python export_model.py CHECKPOINT --format npz --out model.npz --branch 1

npz is a list of plain steps with their arrays, for an engine of your own: private_inference/program/npz_file.py says
what is in the file, and its load_program reads it. Images go in as pixels in [0, 1]. Nothing is written unless the
network, read back, gives PyTorch's logits. ONNX needs two packages more: pip install -r requirements-export.txt
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import io
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from helper import command_line
from helper.errors import UserError
from helper.files import replace_file
from helper.text import table
from masks.counting import relu_counts, relu_totals
from models.layers import Network, use_branch
from models.own import add_code_option
from models.restore import load_model
from private_inference.program.fuse import fuse, fused_in_words
from private_inference.program.npz_file import load_program, write_program
from private_inference.program.onnx_file import require_onnx, run_onnx, to_onnx
from private_inference.program.plaintext import run
from private_inference.program.steps import Program, comparisons, macs
from private_inference.program.trace import build_program

CHECKED_IMAGES = 4
TOLERANCE = 1e-4  # of the largest logit; float32 sums in another order differ by some 1e-6


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    command_line.add_checkpoint(parser, "of any stage")
    parser.add_argument("--format", choices=("onnx", "npz"), required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--branch",
        type=command_line.not_negative,
        default=0,
        metavar="N",
        help="the batch-norm branch (default: 0, clean)",
    )
    parser.add_argument(
        "--batch",
        type=command_line.positive,
        metavar="N",
        help="onnx: batches of exactly N images (default: of any size)",
    )
    add_code_option(parser)
    parser.add_argument("--no_fuse", dest="fuse", action="store_false", help="leave convolutions as they are")
    return parser.parse_args(argv)


@torch.no_grad()
def reference(model: Network, branch: int, images: torch.Tensor) -> np.ndarray:
    """PyTorch's logits of `images` through `branch`."""
    with use_branch(model.eval(), branch):
        return model(images).numpy()


def exported(
    program: Program, about: dict, images: np.ndarray, *, kind: str, batch: int | None
) -> tuple[bytes, np.ndarray]:
    """(content of the file, the logits that whoever reads it will get). `kind` and `batch`: --format and --batch."""
    if kind == "onnx":
        content = to_onnx(program, about, batch)
        return content, run_onnx(content, images)
    file = io.BytesIO()
    write_program(file, program, about)
    file.seek(0)
    return file.getvalue(), run(load_program(file)[0], images)


def relu_table(model: Network) -> str:
    kept, total = relu_totals(model)
    rows = [[count.layer, f"{count.kept:,}", f"{count.total:,}"] for count in relu_counts(model)]
    return table([["ReLU layer", "kept", "of"], *rows, ["total", f"{kept:,}", f"{total:,}"]])


def merged_in_words(program: Program) -> list[str]:
    """What was folded and fused, and for the rest how often which reason stood against it."""
    lines = []
    for what, noun in (("fold", "normalisations folded"), ("fuse", "pairs of linear layers fused")):
        decisions = [decision for decision in program.decisions if decision.what == what]
        done = [decision for decision in decisions if decision.done]
        if decisions:
            lines.append(f"{len(done)} of {len(decisions)} {noun}")
        if what == "fuse":
            lines += [f"  {line}" for line in fused_in_words(program)]
        reasons = Counter(decision.why for decision in decisions if not decision.done)
        lines += [f"  not {count}: {why}" for why, count in reasons.most_common()]
    return lines


def main(args: argparse.Namespace) -> None:
    if args.format == "onnx":
        require_onnx()
    elif args.batch:
        raise UserError("--batch goes with --format onnx; an npz program has no batch size")

    # The program.
    model, checkpoint = load_model(args.checkpoint)
    plain = build_program(model, args.branch, fold=False)
    program = build_program(model, args.branch)
    if args.fuse:
        program = fuse(program)

    # Held against PyTorch as the reader of the file will run it.
    images = torch.rand(args.batch or CHECKED_IMAGES, *program.input_shape, generator=torch.Generator().manual_seed(0))
    expected = reference(model, args.branch, images)
    named = checkpoint.model.name
    about = {"model": named, "image_size": model.spec.image_size, "num_classes": model.spec.num_classes}
    about |= {"branch": args.branch, "relus": relu_totals(model)[0]}
    content, logits = exported(program, about, images.numpy(), kind=args.format, batch=args.batch)
    error = float(np.abs(logits - expected).max() / np.abs(expected).max())
    if not error < TOLERANCE:  # a NaN is no agreement either
        raise UserError(f"the exported logits differ from PyTorch's by {error:.1e} of the largest; nothing was written")
    replace_file(args.out, lambda file: file.write(content))

    # What it is.
    kinds = Counter(step.kind for step in program.steps)
    print(f"{named} through branch {args.branch} of {model.spec.branches}")
    print(relu_table(model))
    pooled = sum(count for _, kind, count in comparisons(program) if kind == "max_pool")
    if pooled:
        print(f"max pooling compares too: {pooled:,} times an image")
    print(f"{len(program.steps)} steps: {', '.join(f'{count} {kind}' for kind, count in kinds.most_common())}")
    print("\n".join(merged_in_words(program)))
    print(f"multiply-accumulates an image: {macs(plain):,} before, {macs(program):,} after")
    print(f"max logit error: {error:.1e} of the largest logit, {len(images)} images")
    print(f"written to {args.out}: {len(content) / 1e6:.1f} MB")


if __name__ == "__main__":
    run_script(main, parse_args)
