"""How much each ReLU layer of a network matters, measured: budgets are shared out by it.

    python compute_sensitivity.py --model resnet20 --path zoo:cifar10_resnet20_teacher_24 --method linearize \\
        --relu_budget 9% --out sensitivity/mine.yaml
    python compute_sensitivity.py --model ResNet18 --dataset cifar10 --method prune --density 0.1 --relu_budget 50k \\
        --out sensitivity/mine.yaml

linearize: each layer in turn loses all of its ReLUs; the network is fine-tuned for a moment, distilled from itself, and
its sensitivity is what its loss on held-out images has risen by, clean and, where it was trained on those, adversarial,
beside that of the same fine-tuning with all ReLUs. prune: SENet's (Kundu et al., ICLR 2023); weights are pruned by
magnitude while it trains, down to --density of all, and the sensitivity of a layer is 1 - the share that it keeps.

The file is one that stage 1 takes: as --sensitivity it is a budget of --relu_budget ReLUs, as --layer_sensitivity it
shares out any other budget, of ReLUs or of seconds, and plan_budget.py --sensitivity draws them all. Beside it lies a
figure of the same name, and in save/sensitivity/<name>/ what is finished: the same command goes on where a killed one
was.
"""

from __future__ import annotations

from helper.machine import versions
from helper.script import run_script

import argparse
from pathlib import Path

from dataset.options import add_dataset_option
from evaluation.measurements import Measurements
from helper import command_line
from helper.files import file_digest, lock_folder, real_path
from helper.processes import Processes, start_processes
from helper.run_folder import FREE_OPTIONS
from masks.allocation import allocate_budget, as_profile, layer_sensitivities, relu_count, total_of
from models import build_model
from models.layers import relu_sites
from models.restore import load_model
from reporting.figure_style import save_figure
from reporting.sensitivity import sensitivity_figure, sensitivity_table
from sensitivity import write_budget
from training.data import training_loaders
from training.layer_sensitivity import SensitivityStudy
from training.naming import budget_label
from training.sensitivity_plan import LINEARIZE, METHODS, RATE, RATE_FROM_RANDOM, SHORT, SensitivityPlan
from training.settle_sensitivity import settle

# Options that say where something lies, which is nobody else's concern.
PLACES = FREE_OPTIONS | {"path", "out"}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "--model", required=True, help="ResNet18, resnet20, vgg16, ...: that of --path, where it is given"
    )
    add_dataset_option(parser)
    parser.add_argument(
        "--path",
        type=command_line.checkpoint_file,
        metavar=command_line.CHECKPOINT,
        help="the teacher; it is fine-tuned on the views, and against the attack, that it was trained on (default for "
        "prune: random weights, clean images)",
    )
    parser.add_argument("--method", required=True, choices=METHODS, help="as above")
    parser.add_argument(
        "--relu_budget", required=True, type=relu_count, metavar="N", help="of the file: 82650 or 50k ReLUs, or 9%%"
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.yaml", help="such as sensitivity/mine.yaml")
    parser.add_argument(
        "--density",
        type=command_line.share,
        default=0.1,
        metavar="D",
        help="prune: of the weights, in the end (default: 0.1)",
    )
    add_length_options(parser.add_argument_group("how long"))
    add_run_options(parser.add_argument_group("run"))
    return parser.parse_args(argv)


def add_length_options(group: argparse._ArgumentGroup) -> None:
    epochs, batches = ("; ".join(f"{method}: {short[at]}" for method, short in SHORT.items()) for at in range(2))
    group.add_argument("--epochs", type=command_line.positive, help=f"default: {epochs}")
    group.add_argument(
        "--limit_train_batches", type=command_line.positive, metavar="N", help=f"batches an epoch (default: {batches})"
    )
    group.add_argument(
        "--learning_rate",
        type=command_line.number,
        help=f"of one cycle (default: {RATE}; from random weights {RATE_FROM_RANDOM})",
    )
    group.add_argument("--batch_size", type=command_line.positive, default=128, help="default: 128")
    group.add_argument(
        "--heldout_images",
        type=command_line.positive,
        default=512,
        metavar="N",
        help="linearize: measure the loss on N evenly spaced held-out images (default: 512)",
    )
    group.add_argument(
        "--limit_val_batches", type=command_line.positive, metavar="N", help="linearize: on at most N batches of these"
    )
    group.add_argument(
        "--eval_steps", type=command_line.positive, default=10, help="linearize: PGD steps against these (default: 10)"
    )


def add_run_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--data_root", default="data", metavar="DIR", help="where data sets lie (default: data)")
    group.add_argument("--no_download", action="store_true", help="never fetch a missing data set")
    group.add_argument("--num_workers", type=command_line.not_negative, default=0, help="loader processes (default: 0)")
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: a GPU where there is one"
    )
    group.add_argument(
        "--seed", type=command_line.seed, default=0, help="of weights, order, augmentation, attack starts"
    )
    group.add_argument("--save_dir", default="save", metavar="DIR", help="default: save")
    group.add_argument(
        "--resume",
        metavar="auto|FILE",
        help="auto, as without it: go on with what is measured already; FILE: with that",
    )
    group.add_argument("--local-rank", "--local_rank", type=int, help="set by torch.distributed.launch")


def open_measured(plan: SensitivityPlan, processes: Processes) -> Measurements:
    """What is finished of this teacher; of random weights, by their description alone."""
    digest = file_digest(plan.teacher) if plan.teacher else f"random weights, seed {plan.seed}"
    file = plan.resume or plan.folder / "measurements.json"
    return Measurements(file, digest, processes, must_match=plan.resume is not None)


def layer_rows(plan: SensitivityPlan, measured: dict[str, dict[str, float]]) -> list[dict]:
    """Every layer: what was measured, its sensitivity, the profile's, and what it keeps of the budget."""
    network = build_model(plan.model, **vars(plan.network))
    sensitivity = [row["loss"] if plan.method == LINEARIZE else 1 - row["density"] for row in measured.values()]
    kept = allocate_budget(network, total_of(plan.relus, network), as_profile(sensitivity))
    columns = zip(relu_sites(network).items(), sensitivity, layer_sensitivities(plan.model, network), kept, strict=True)
    return [
        {"layer": name, "total": site.total, "kept": count, "sensitivity": own, "profile": eta, **measured[name]}
        for (name, site), own, eta, count in columns
    ]


def main(args: argparse.Namespace) -> None:
    # Teacher and plan
    processes = start_processes(args.device)
    teacher, checkpoint = load_model(args.path) if args.path else (None, None)
    plan = settle(args, teacher, checkpoint, processes)
    lock = lock_folder(plan.folder) if processes.is_main else None
    measured = open_measured(plan, processes)

    # The measurement, each figure on disk as soon as it is there
    loaders = training_loaders(
        plan.data, plan.images, processes, plan.objective.views, seed=plan.seed, attacked=plan.heldout_images
    )
    study = SensitivityStudy(plan, teacher, loaders, processes)
    found = study.linearize(measured) if plan.method == LINEARIZE else study.prune(measured)

    # The file for stage 1, a table and a figure
    if processes.is_main:
        rows = layer_rows(plan, found)
        write(plan, rows, measured.digest)
        title = f"{plan.model}, {plan.data.name}: {plan.method}"
        save_figure(sensitivity_figure(rows, title), plan.out.with_suffix(""))
        print(sensitivity_table(rows), f"written to {plan.out}", sep="\n")
    del lock


def write(plan: SensitivityPlan, rows: list[dict], digest: str) -> None:
    about = {
        "label": budget_label(sum(row["kept"] for row in rows)),
        "model": plan.model,
        "dataset": plan.data.name,
        "image_size": plan.data.image_size,
        "source": f"compute_sensitivity.py --method {plan.method}",
        "sensitivity": [round(row["sensitivity"], 6) for row in rows],
        "provenance": {
            "teacher": plan.teacher and "/".join(real_path(plan.teacher).parts[-2:]),
            "sha256": digest if plan.teacher else None,
            "layers": rows,
            "settings": {name: str(value) for name, value in plan.settings.items()},
            "options": {name: value for name, value in plan.record.items() if name not in PLACES},
            "versions": versions(),
        },
    }
    write_budget(plan.out, about, [row["kept"] for row in rows], [row["total"] for row in rows])


if __name__ == "__main__":
    run_script(main, parse_args)
