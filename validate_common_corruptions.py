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

from helper.script import run_script

import argparse
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from dataset import ImageSource
from dataset.corrupted_sets import CorruptedSet
from dataset.options import add_data_options
from evaluation.corruption_error import baseline_warnings, corruption_errors
from evaluation.data import SpacedSet, find_corrupted, read_judged, spaced
from evaluation.evaluation import Evaluation
from evaluation.examples import example_columns
from evaluation.measurements import open_measurements
from evaluation.options import add_attacked_branches, add_corruption_options, add_evaluation_attack_options
from evaluation.plan import EvaluationPlan
from evaluation.recipe import training_recipe
from evaluation.results import network_results
from evaluation.self_checks import warnings_of
from evaluation.settle import MODES, settle
from evaluation.words import opening
from formats.measured import Accuracy
from formats.results import Results
from helper import command_line
from helper.command_line import add_run_options
from helper.errors import UserError
from helper.files import replace_file, write_json
from helper.placement import place_model
from helper.processes import on_main_process, start_processes
from helper.run_folder import MASKS, read_log
from masks.counting import mask_arrays
from models.branches import add_branch_options
from models.layers import Network
from models.own import PLACE, model_name
from models.restore import load_model
from reporting.figures import example_images, mask_maps, run_figures, save_figures
from reporting.next_steps import command
from reporting.tables import corruption_table, results_csv, results_table


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.first = ("path", "attack_mode", "steps", "restarts", "generate", "corruptions", "severities", "images")
    parser.first += ("baseline", "run_name")
    parser.add_argument(
        "--path",
        required=True,
        type=command_line.checkpoint_file,
        metavar=command_line.CHECKPOINT,
        help="the checkpoint",
    )
    parser.add_argument(
        "--model",
        type=model_name,
        metavar="MODEL",
        help=f"its model, to make sure (default: what the checkpoint says); of a network of your own {PLACE}: its code "
        "is run only where it is named here",
    )
    parser.add_argument("--validate_mode", choices=MODES.values(), help="all-ReLU or masked network, to make sure")
    parser.add_argument("--no_figures", action="store_true", help="write no figures")
    add_branch_options(parser)
    add_attacked_branches(add_evaluation_attack_options(parser, checkpoint="path"))
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
        "--no_verify",
        action="store_true",
        help="take images that make_corruptions.py wrote as they are, also where they have changed since",
    )
    group.add_argument(
        "--baseline",
        metavar="FILE",
        help="results.json of another network on the same corruptions: gives mCE and relative mCE",
    )
    add_data_options(parser, dataset=None, select_on="test")
    add_run_options(parser, evaluates=True)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    # Checkpoint and plan
    started = perf_counter()
    processes = start_processes(args.device)
    model, checkpoint = load_model(args.path)
    plan = settle(args, checkpoint)
    place_model(model, processes.device).eval()

    # Images, and where the figures go
    source = read_judged(plan.images, plan.data, processes)
    corrupted, without = find_corrupted(plan.corruptions, plan.images, plan.data, source, plan.seed)
    if corrupted and plan.corruptions.verify:
        on_main_process(partial(corrupted.verify, plan.corruptions.names, plan.corruptions.severities))
    if plan.baseline and not corrupted:
        raise UserError(f"--baseline: there are no corrupted images to measure on: {without}")
    source, corrupted, about = picked(source, corrupted, plan.images.limit_images)
    measured = open_measurements(plan.folder, plan.checkpoint, processes, plan.resume)

    measured.say(opening(plan, source, corrupted, processes))

    # Measurements, each on disk before the next begins
    settings = (source, measured, processes, plan.images)
    evaluation = Evaluation(
        model, plan.branches, plan.data, *settings, attacked=plan.attacked, seed=plan.seed, about=about
    )
    found = evaluation.self_checks()
    accuracy = evaluation.accuracy(plan.attacks, corrupted, plan.corruptions.names, plan.corruptions.severities)
    images = corrupted.provenance.record() if corrupted else None
    warnings = warnings_of(found, accuracy, checkpoint.args.get("select_on"))
    if plan.baseline:
        errors, undefined = corruption_errors(accuracy, plan.baseline)
        accuracy |= errors
        warnings += undefined + baseline_warnings(accuracy["images"], images, plan.baseline)

    # Results
    results = network_results(
        Path(__file__).name,
        plan.record,
        processes,
        model,
        model_name=plan.model,
        dataset=plan.data.name,
        branches=plan.branches,
        attack=plan.main_attack,
        accuracy=Accuracy(**accuracy),
        seconds=perf_counter() - started,
        warnings=warnings,
        checkpoint=str(plan.checkpoint),
        checkpoint_sha256=measured.digest,
        measured_on="heldout" if plan.images.select_on == "heldout" else "test",
        corrupted_images=images,
        training=training_recipe(plan.checkpoint, checkpoint.stage, checkpoint.epoch, checkpoint.args),
    )
    if processes.is_main:
        write_results(plan.folder, results, model)
        if plan.figures:
            save_figures(drawn(plan, results, model, source, corrupted, processes.device), plan.folder / "figures")
        print(results_table(results), corruption_table(results) or f"NPA: {without}", sep="\n\n")
        print(f"written to {plan.folder}", f"next: {command('report.py', plan.folder)}", sep="\n")


def picked(
    source: ImageSource, corrupted: CorruptedSet | None, count: int | None
) -> tuple[ImageSource, CorruptedSet | None, dict]:
    """(`count` evenly spaced images of each, or all of them; what their figures depend on then)"""
    if not count:
        return source, corrupted, {}
    return spaced(source, count), corrupted and SpacedSet(corrupted, count), {"of all": len(source)}


def write_results(folder: Path, results: Results, model: Network) -> None:
    write_json(folder / "results.json", results.as_json())
    replace_file(folder / "results.csv", lambda file: file.write(results_csv(results).encode()))
    if results.relus.kept < results.relus.total:
        masks: dict[str, Any] = {**mask_arrays(model)}
        replace_file(folder / MASKS, lambda file: np.savez_compressed(file, **masks))


def drawn(
    plan: EvaluationPlan,
    results: Results,
    model: Network,
    source: ImageSource,
    corrupted: CorruptedSet | None,
    device: torch.device,
) -> dict[str, Figure]:
    """The figures of an evaluation, by the names of their files."""
    labels, columns = example_columns(
        model,
        plan.branches,
        plan.data,
        source,
        attack=plan.main_attack,
        corrupted=corrupted,
        corruptions=plan.corruptions.names,
        seed=plan.seed,
        device=device,
    )
    figures = run_figures(results, read_log(plan.checkpoint.parent))
    return figures | {"mask_maps": mask_maps(mask_arrays(model)), "examples": example_images(columns, labels)}


if __name__ == "__main__":
    run_script(main, parse_args)
