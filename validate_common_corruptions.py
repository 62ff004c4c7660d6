"""Clean, adversarial and common-corruption accuracy of any checkpoint of this project, through every trained branch.

    python validate_common_corruptions.py --model ResNet18 --validate_mode Normal_Network --attack_mode pgd \\
        --steps 20 --path save/models/ResNet18_cifar10_augmix_pgd_2BN_batch128/ResNet18_best_TA0.0.pth --use2BN

CA is measured on the test set, AdvA under an attack through the very branch that predicts, and NPA where the arrays of
CIFAR-10-C or CIFAR-100-C lie under --data_root. Writes save/validation/<run>_<checkpoint>/results.json. A measurement
that is finished is on disk at once: the same command goes on where a killed one was.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from statistics import mean
from time import perf_counter

from dataset import dataset_spec, heldout_split
from dataset.corruption_arrays import CORRUPTIONS, SEVERITIES, corrupted_source, find_corruptions
from helper import options
from helper.checkpoint import load_model
from helper.data import evaluation_loader, read_split
from helper.distributed import start_processes
from helper.engine import evaluate, place_model
from helper.errors import UserError
from helper.measurements import Measurements, file_digest
from helper.report import base_results, corruption_table, results_table
from helper.run import write_json
from helper.script import run_script
from models import STUDENTS

MODES = {False: "Normal_Network", True: "Custom_Network"}  # by whether the model is a masked student


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.Parser(__doc__)
    parser.add_argument("--path", required=True, metavar="FILE", help="the checkpoint")
    parser.add_argument("--model", help="its model, to make sure (default: what the checkpoint says)")
    parser.add_argument("--validate_mode", choices=MODES.values(), help="all-ReLU or masked network, to make sure")
    options.add_branch_options(parser)
    options.add_attack_options(parser, default="pgd", steps=20, evaluates=True)
    options.add_data_options(parser, dataset=None, select_on="test")
    options.add_run_options(parser, evaluates=True)
    return parser.parse_args(argv)


def check_options(args: argparse.Namespace, checkpoint: dict) -> None:
    """Raise UserError, naming both values, for an option that contradicts the checkpoint."""
    name, branches = checkpoint["model"]["name"], checkpoint["model"]["branches"]
    given = options.branch_count(args)
    for option, value, stored in (
        ("--model", args.model, name),
        ("--validate_mode", args.validate_mode, MODES[name in STUDENTS]),
        ("--dataset", args.dataset, checkpoint["dataset"]),
        (f"--use{given}BN:", given if given > 1 else None, branches),
    ):
        if value is not None and value != stored:
            raise UserError(f"{option} {value} contradicts {args.path}, which has {stored}")


def main(args: argparse.Namespace) -> None:
    # Checkpoint and options
    started = perf_counter()
    processes = start_processes(args.device)
    model, checkpoint = load_model(args.path)
    check_options(args, checkpoint)
    data, attack = dataset_spec(checkpoint["dataset"]), options.training_attack(args)
    branches = checkpoint["trained_branches"]
    place_model(model, processes.device).eval()

    # Data, and where the figures go
    heldout = args.select_on == "heldout"
    source = read_split(args, data, processes, train=heldout)
    loader = evaluation_loader(args, data, processes, source, heldout_split(source.labels)[1] if heldout else None)
    corruptions = find_corruptions(data.name, args.data_root)
    path = Path(args.path)
    folder = Path(args.save_dir, "validation", args.run_name or f"{path.parent.name}_{path.stem}")
    settings = {name: getattr(args, name) for name in ("attack_mode", "eps", "step_size", "steps", "seed")}
    settings |= {"limit_val_batches": args.limit_val_batches, "batch_size": args.batch_size, "heldout": heldout}
    settings |= {"checkpoint": file_digest(path), "corruptions": corruptions and str(corruptions.resolve())}
    named = args.resume not in (None, "auto")
    file = Path(args.resume) if named else folder / "measurements.json"
    measured = Measurements(file, settings, processes, must_match=named)

    # Measurements, each on disk before the next begins
    measure = partial(evaluate, model, processes=processes, seed=args.seed)
    accuracy = dict(measured.take("clean", lambda: measure(loader, clean_branches=branches, description="clean")))
    for branch in branches if attack else []:
        found = measured.take(
            f"{attack.name} branch {branch}",
            lambda branch=branch: measure(
                loader,
                clean_branches=[],
                attack_branches=[branch],
                attack=attack,
                description=f"{attack.name} on branch {branch}",
            ),
        )
        accuracy["AdvA"] = accuracy["AdvA"] | found["AdvA"]
    if corruptions:
        grid = {str(branch): {name: [] for name in CORRUPTIONS} for branch in branches}
        for name in CORRUPTIONS:
            for severity in SEVERITIES:
                found = measured.take(
                    f"{name} {severity}",
                    lambda name=name, severity=severity: measure(
                        evaluation_loader(
                            args, data, processes, corrupted_source(corruptions, name, severity, data.image_size)
                        ),
                        clean_branches=branches,
                        description=f"{name} {severity}",
                    ),
                )
                for branch, value in found["CA"].items():
                    grid[branch][name].append(value)
        accuracy["corruptions"] = grid
        accuracy["NPA"] = {branch: mean(mean(row) for row in rows.values()) for branch, rows in grid.items()}

    # Results
    results = base_results(
        Path(__file__).name,
        args,
        processes,
        model,
        model_name=checkpoint["model"]["name"],
        dataset=data.name,
        branches=branches,
        attack=attack,
        accuracy=accuracy,
        seconds=perf_counter() - started,
    )
    results |= {"checkpoint": str(path), "measured_on": "heldout" if heldout else "test"}
    if processes.is_main:
        write_json(folder / "results.json", results)
        print(f"{results_table(results)}\n{corruption_table(results)}\nwritten to {folder}")


if __name__ == "__main__":
    run_script(main, parse_args)
