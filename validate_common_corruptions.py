"""Clean, adversarial and common-corruption accuracy of any checkpoint of this project, through every trained branch.

    python validate_common_corruptions.py --path save/models/ResNet18_.../ResNet18_best_TA0.0.pth
    python validate_common_corruptions.py --path CHECKPOINT --restarts 5 --baseline save/validation/plain/results.json
    python validate_common_corruptions.py --path CHECKPOINT --attack_mode autoattack --limit_val_batches 8
    python validate_common_corruptions.py --path CHECKPOINT --generate --frost_dir DIR

CA is measured on the test set; AdvA under FGSM, PGD and, where asked for, AutoAttack, each through the very branch that
predicts; NPA on the corrupted test set below --data_root, published or written by make_corruptions.py, or corrupted as
it is read (--generate). Writes results.json, results.csv and figures into save/validation/<run>_<checkpoint>/. A
measurement that is finished is on disk at once: the same command goes on where a killed one was, and other options add
to what is there.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from time import perf_counter

from helper.script import run_script

from attacks.attack import attack_named
from attacks.options import NONE
from dataset import dataset_spec
from dataset.corruptions import CORRUPTIONS, SEVERITIES
from dataset.options import add_data_options
from evaluation.corruption_error import baseline_warnings, check_baseline, corruption_errors
from evaluation.data import find_corrupted, read_judged
from evaluation.evaluation import Evaluation
from evaluation.examples import example_columns
from evaluation.measurements import open_measurements
from evaluation.options import (
    add_corruption_options,
    add_evaluation_attack_options,
    chosen_corruptions,
    evaluation_attacks,
)
from evaluation.results import network_results
from evaluation.self_checks import warnings_of
from helper import command_line
from helper.command_line import add_run_options
from helper.errors import UserError
from helper.files import replace_file, write_json
from helper.placement import place_model
from helper.processes import start_processes
from helper.run_folder import checkpoint_name, plain_arguments, read_log
from masks.counting import mask_arrays
from models import STUDENTS
from models.branches import add_branch_options, branch_count
from models.restore import checkpoint_branches, checkpoint_dataset, load_model
from reporting.figures import example_images, mask_maps, run_figures, save_figures
from reporting.results import read_results
from reporting.tables import corruption_table, counted, results_csv, results_table

MODES = {False: "Normal_Network", True: "Custom_Network"}  # by whether the model is a masked student


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "--path",
        required=True,
        type=command_line.checkpoint_file,
        metavar=command_line.CHECKPOINT,
        help="the checkpoint",
    )
    parser.add_argument("--model", help="its model, to make sure (default: what the checkpoint says)")
    parser.add_argument("--validate_mode", choices=MODES.values(), help="all-ReLU or masked network, to make sure")
    parser.add_argument("--no_figures", action="store_true", help="write no figures")
    add_branch_options(parser)
    add_evaluation_attack_options(parser)
    group = parser.add_argument_group("corruptions")
    add_corruption_options(group)
    group.add_argument(
        "--corruption_dir", metavar="DIR", help="default: the published name, such as CIFAR-10-C, in --data_root"
    )
    group.add_argument(
        "--generate",
        action="store_true",
        help="corrupt the test set as it is read: the images that make_corruptions.py --seed SEED writes",
    )
    group.add_argument(
        "--baseline",
        metavar="FILE",
        help="results.json of another network on the same corruptions: gives mCE and relative mCE",
    )
    add_data_options(parser, dataset=None, select_on="test")
    add_run_options(parser, evaluates=True)
    return parser.parse_args(argv)


def check_options(args: argparse.Namespace, checkpoint: dict) -> None:
    """Raise UserError, naming both values, for an option that contradicts the checkpoint."""
    name, branches = checkpoint["model"]["name"], checkpoint["model"]["branches"]
    given = branch_count(use2BN=args.use2BN, use3BN=args.use3BN)
    for option, value, stored in (
        ("--model", args.model, name),
        ("--validate_mode", args.validate_mode, MODES[name in STUDENTS]),
        ("--dataset", args.dataset, checkpoint_dataset(checkpoint, args.path, args.dataset)),
        (f"--use{given}BN:", given if given > 1 else None, branches),
    ):
        if value is not None and value != stored:
            raise UserError(f"{option} {value} contradicts {args.path}, which has {stored}")
    if args.attack_mode != NONE:
        attack_named(args.attack_mode).check()


def main(args: argparse.Namespace) -> None:
    # Checkpoint and options
    started = perf_counter()
    processes = start_processes(args.device)
    model, checkpoint = load_model(args.path)
    check_options(args, checkpoint)
    data = dataset_spec(checkpoint_dataset(checkpoint, args.path, args.dataset))
    branches = checkpoint_branches(checkpoint)
    attacks = evaluation_attacks(args)
    main_attack = next((attack for attack in reversed(attacks) if attack.entry.makes_images), None)
    corruptions, args.severities = chosen_corruptions(args.corruptions), sorted(set(args.severities))
    baseline = args.baseline and read_results(args.baseline)
    if baseline:
        check_baseline(baseline, args.baseline, data.name, corruptions, args.severities)
    place_model(model, processes.device).eval()

    # Data, and where the figures go
    heldout = args.select_on == "heldout"
    source = read_judged(args, data, processes)
    corrupted, without = find_corrupted(args, data, source, corruptions)
    if baseline and not corrupted:
        raise UserError(f"--baseline: there are no corrupted images to measure on: {without}")
    folder = Path(args.save_dir, "validation", args.run_name or checkpoint_name(args.path))
    measured = open_measurements(args, folder, args.path, processes)

    # Measurements, each on disk before the next begins
    evaluation = Evaluation(model, branches, data, source, measured, processes, args)
    found = evaluation.self_checks()
    accuracy = evaluation.clean()
    if attacks:
        accuracy["attacks"] = {attack.name: evaluation.attack(attack) for attack in attacks}
        accuracy["AdvA"] = accuracy["attacks"][main_attack.name]
    if corrupted:
        accuracy["severities"] = args.severities
        accuracy["corruptions"] = evaluation.corruptions(corrupted, corruptions, args.severities)
        if set(CORRUPTIONS) <= set(corruptions) and args.severities == list(SEVERITIES):
            accuracy["NPA"] = {
                branch: mean(mean(row) for row in counted(rows).values())
                for branch, rows in accuracy["corruptions"].items()
            }
    undefined = []
    if baseline:
        errors, undefined = corruption_errors(accuracy, baseline)
        accuracy |= errors

    # Results
    results = network_results(
        Path(__file__).name,
        plain_arguments(vars(args)),
        processes,
        model,
        model_name=checkpoint["model"]["name"],
        dataset=data.name,
        branches=branches,
        attack=main_attack,
        accuracy=accuracy,
        seconds=perf_counter() - started,
    )
    results |= {"checkpoint": str(args.path), "checkpoint_sha256": measured.digest}
    results["measured_on"] = "heldout" if heldout else "test"
    results["corrupted_images"] = asdict(corrupted.provenance) if corrupted else None
    results["warnings"] += warnings_of(found, accuracy, checkpoint.get("args", {}).get("select_on")) + undefined
    if baseline:
        results["warnings"] += baseline_warnings(results, baseline)
    if processes.is_main:
        write_json(folder / "results.json", results)
        replace_file(folder / "results.csv", lambda file: file.write(results_csv(results).encode()))
        if not args.no_figures:
            labels, columns = example_columns(
                model,
                branches,
                data,
                source,
                attack=main_attack,
                corrupted=corrupted,
                corruptions=corruptions,
                seed=args.seed,
                device=processes.device,
            )
            figures = run_figures(results, read_log(args.path.parent))
            figures |= {"mask_maps": mask_maps(mask_arrays(model)), "examples": example_images(columns, labels)}
            save_figures(figures, folder / "figures")
        print(results_table(results), corruption_table(results) or f"NPA: {without}", sep="\n\n")
        print(f"written to {folder}")


if __name__ == "__main__":
    run_script(main, parse_args)
