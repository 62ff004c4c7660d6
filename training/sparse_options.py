"""The options of sparse weights, and what they settle to."""

from __future__ import annotations

import argparse

from helper.command_line import Parser, share
from helper.errors import UserError
from training.sparse_momentum import GROWTH, PRUNE, REDISTRIBUTION, Sparsity

DENSITY = 0.05  # without --density


def add_sparse_options(parser: Parser) -> None:
    group = parser.add_argument_group("sparse weights (sparse momentum: Dettmers and Zettlemoyer, 2019)")
    dense = group.add_mutually_exclusive_group()
    dense.add_argument("--dense", action="store_true", help="train all weights")
    dense.add_argument(
        "--density",
        type=share,
        metavar="SHARE",
        help=f"of the weights of convolutions and linear layers that are not 0, all others are (default: {DENSITY})",
    )
    group.add_argument(
        "--prune", choices=PRUNE, default="magnitude", help="what a layer loses after an epoch (default: magnitude)"
    )
    group.add_argument(
        "--redistribution",
        choices=REDISTRIBUTION,
        default="momentum",
        help="how what was lost is shared out over the layers; none: each gets back its own (default: momentum)",
    )
    group.add_argument(
        "--growth",
        choices=GROWTH,
        default="momentum",
        help="where a layer gets new weights: those of the largest momentum, as published, of the largest gradient in "
        "the last step, or any (default: momentum)",
    )
    group.add_argument(
        "--prune_rate",
        "--prune-rate",
        type=share,
        default=0.5,
        metavar="SHARE",
        help="of its weights that a layer loses after an epoch, falling to 0 over the run by a cosine (default: 0.5)",
    )


def sparse_defaults() -> dict[str, object]:
    """What the options of a run of before there were any of these would have been."""
    parser = Parser("")
    add_sparse_options(parser)
    return vars(parser.parse_args([]))


def recorded_weights(sparsity: Sparsity | None) -> dict[str, object]:
    """What a record says of --dense and --density."""
    return {"dense": sparsity is None, "density": sparsity.density if sparsity else None}


def settle_sparsity(args: argparse.Namespace) -> Sparsity | None:
    """What the options of sparse weights ask for, None for dense ones. Raises UserError for what cannot be."""
    if args.dense:
        return None
    density = DENSITY if args.density is None else args.density
    if not density:
        raise UserError("--density 0 leaves no weights; give a share above 0, or --dense for all")
    if not args.momentum and "momentum" in (args.growth, args.redistribution):
        raise UserError("sparse momentum needs --momentum above 0, or other rules for --growth and --redistribution")
    return Sparsity(density, args.growth, args.prune, args.redistribution, args.prune_rate)
