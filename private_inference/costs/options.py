"""The command line of private inference."""

from __future__ import annotations

import argparse
from pathlib import Path

from dataset.options import add_dataset_option
from helper import command_line
from models.own import add_code_option
from private_inference.costs.link import NETWORKS, network
from private_inference.engine.parties import ENGINE_PYTHON
from private_inference.engine.protocols import PROTOCOLS, SET_UPS

LINK = "|".join([*NETWORKS, "BANDWIDTH,RTT"])  # what `network` takes


def add_options(parser: command_line.Parser) -> None:
    add_subject_options(parser)
    add_engine_options(parser)
    add_link_options(parser.add_argument_group("network"))
    add_party_options(parser.add_argument_group("one party alone"))
    add_file_options(parser.add_argument_group("files"))


def add_subject_options(parser: command_line.Parser) -> None:
    """What is run: networks and images."""
    parser.add_argument(
        "--path",
        nargs="+",
        type=command_line.checkpoint_file,
        metavar=command_line.CHECKPOINT,
        help="checkpoints of any stage; several: compared",
    )
    add_code_option(parser)
    parser.add_argument(
        "--branch", type=command_line.not_negative, default=0, metavar="N", help="batch-norm branch (default: 0)"
    )
    parser.add_argument("--no_fuse", dest="fuse", action="store_false", help="leave convolutions as they are")
    parser.add_argument(
        "--images",
        type=command_line.positive,
        metavar="N",
        help="the first N test images; the first batch is cold: it pays for the engine's one-off set-up (default: 4, "
        "or two batches)",
    )
    parser.add_argument(
        "--batch",
        type=command_line.positive,
        default=1,
        metavar="N",
        help="images that run at once and share rounds and ciphertexts; costs are told an image (default: 1)",
    )


def add_protocol_options(group: argparse._ActionsContainer, *, comparison: str) -> None:
    """What a cost depends on beside network, link and batch. `comparison`: what to say of its bits."""
    group.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="cheetah",
        help="cheetah: two parties and nobody else (default); semi2k: a trusted dealer, here in the client's process, "
        "makes the randomness beforehand, so that only the online cost is measured",
    )
    group.add_argument(
        "--comparison",
        type=int,
        choices=(32, 64),
        default=32,
        help=f"bits that secure comparisons are made in; {comparison} (default: 32)",
    )
    group.add_argument(
        "--set_up",
        choices=tuple(SET_UPS),
        default="yacl",
        help="of cheetah's oblivious transfers: yacl takes thousands of small messages, which do not wait for each "
        "other; emp few large ones, and more computing (default: yacl)",
    )


def add_engine_options(parser: command_line.Parser) -> None:
    """How it is run."""
    add_protocol_options(
        parser,
        comparison="32 costs half of 64, and is taken only for layers whose values, on images tried in the clear, stay "
        "16 times below its bound of 8,192",
    )
    parser.add_argument(
        "--threads",
        type=command_line.thread_count,
        metavar="N",
        help="of one party; the two compute in turns, so each may have all cores (default: the cores)",
    )
    parser.add_argument(
        "--timeout",
        type=command_line.positive,
        default=120,
        metavar="SECONDS",
        help="wait for the other party, and for each of its answers, at most so long (default: 120)",
    )
    parser.add_argument(
        "--engine_python", type=Path, default=ENGINE_PYTHON, metavar="FILE", help="default: that of `make pi`"
    )


def add_link_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--network",
        nargs="+",
        type=network,
        default=[],
        metavar=LINK,
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


def add_party_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--role", choices=("client", "server"), help="be this party; the other one runs elsewhere")
    group.add_argument("--listen", type=address, metavar="HOST:PORT", help="where this party is reached")
    group.add_argument("--peer", type=address, metavar="HOST:PORT", help="where the other party is reached")
    group.add_argument(
        "--digest",
        metavar="HEX",
        help="client: agree to the public program of this digest and no other (default: the one that --peer had when "
        "it was first met, as SAVE_DIR/private_inference/known_programs.json keeps)",
    )
    group.add_argument(
        "--tls",
        nargs=3,
        type=Path,
        metavar=("CERT", "KEY", "CA"),
        help="encrypt the link and let both prove who they are: this party's certificate and key, and the authority "
        "that must have signed the other's (PEM; both parties)",
    )
    add_dataset_option(group, says="client: whose test images, ")


def add_file_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    group.add_argument("--no_download", action="store_true", help="never fetch a missing data set")
    group.add_argument("--save_dir", default="save", metavar="DIR", help="default: save")
    group.add_argument(
        "--run_name", type=command_line.folder_name, help="name of the folder (default: built from the options)"
    )
    group.add_argument("--again", action="store_true", help="measure checkpoints again that the folder holds already")


def address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is no address; write host:port, such as 10.0.0.1:9500")
    return text
