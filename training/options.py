"""The command line of the three training scripts."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from attacks.attack import AttackSettings, attack_named, judge_of
from attacks.options import EVALUATION_STEPS, NONE, THAT_OF_THE_CHECKPOINT, add_attack_choice, settle_attack
from dataset.options import add_data_options
from distiller_zoo.loss import losses
from distiller_zoo.modes import Weights
from helper.command_line import (
    CHECKPOINT,
    Parser,
    add_run_options,
    checkpoint_file,
    decay,
    epoch_list,
    number,
    positive,
)
from helper.errors import UserError
from models.branches import add_branch_options
from models.foreign import TEACHER_IMAGES
from training.acceleration import AMP, COMPILE
from training.inherited_options import options_of_origin
from training.naming import CHECKPOINT_FILES
from training.objective import mode_help
from training.plan import Optimisation
from training.schedule import default_decay_epochs
from training.sparse_momentum import Sparsity


def add_attack_options(parser: Parser, *, default: str | None, steps: int) -> None:
    group = add_attack_choice(parser, lambda attack: attack.trains, default=default, title="the attack in training")
    group.add_argument("--steps", type=positive, default=steps, help=f"PGD steps in training (default: {steps})")
    group.add_argument(
        "--eval_steps",
        type=positive,
        default=EVALUATION_STEPS,
        help=f"PGD steps in evaluations (default: {EVALUATION_STEPS})",
    )
    group.add_argument(
        "--select_attack_images",
        type=positive,
        metavar="N",
        help="attack only N of the images that every epoch is judged by, evenly spaced (default: all of them)",
    )


def add_optimizer_options(
    parser: Parser, *, epochs: int, epochs_alias: str | None, learning_rate: float, fast: Mapping[str, object]
) -> None:
    parser.presets = {"full": {}, "fast": {"lr_schedule": "onecycle", **fast}}
    group = parser.add_argument_group("optimizer (SGD)")
    group.add_argument(
        "--preset",
        choices=parser.presets,
        default="full",
        help="full: the published schedule, as below; fast: --lr_schedule onecycle "
        f"{' '.join(f'--{name} {value}' for name, value in fast.items())}. Options that are given win (default: full)",
    )
    names = ["--epochs", *([epochs_alias] if epochs_alias else [])]
    group.add_argument(*names, dest="epochs", type=positive, default=epochs, help=f"default: {epochs}")
    group.add_argument("--learning_rate", type=number, default=learning_rate, help=f"default: {learning_rate}")
    group.add_argument(
        "--lr_schedule",
        choices=("step", "onecycle"),
        default="step",
        help="step: times --lr_decay_rate at each of --lr_decay_epochs (default); onecycle: rises over 30 %% of the "
        "epochs, then falls to 0: the better one for short runs",
    )
    group.add_argument(
        "--lr_decay_epochs",
        type=epoch_list,
        metavar="E,E,...",
        help="default: after 62.5, 75 and 87.5 %% of the epochs, which is 150,180,210 of 240",
    )
    group.add_argument("--lr_decay_rate", type=number, default=0.1, help="default: 0.1")
    group.add_argument("--momentum", type=number, default=0.9, help="default: 0.9")
    group.add_argument("--weight_decay", type=number, default=5e-4, help="default: 5e-4")
    group.add_argument(
        "--ema",
        type=decay,
        metavar="DECAY",
        help="average the weights, and their batch-norm statistics, over the steps: average = DECAY average + "
        "(1 - DECAY) weights, after a short rise of DECAY. The averaged network is evaluated and saved beside the raw "
        "one, in files with _ema in their names. 0.999 averages over about 1,000 steps (default: no average)",
    )
    group.add_argument(
        "--no_sync_bn",
        dest="sync_bn",
        action="store_false",
        help="with several processes, let each normalise by its own batch statistics: quicker, but no longer the same "
        "training as one process",
    )


def add_speed_options(parser: Parser) -> None:
    group = parser.add_argument_group("speed (of training: evaluations are always float32, without TF32)")
    group.add_argument(
        "--amp",
        choices=AMP,
        default="auto",
        help="what networks multiply in. none: float32, TF32 off; bf16: bfloat16 by autocast, TF32 for the rest. "
        "Weights, batch-norm statistics, losses, perturbations and mask sums are float32 in both. auto: bf16 on a GPU "
        "that has it; on a CPU a few steps of both are timed, and bf16 is taken where it is 1.3 times as fast, which a "
        "resumed run then keeps to (default: auto)",
    )
    group.add_argument(
        "--channels_last",
        action="store_true",
        default=True,
        help="keep maps in the memory order (N, H, W, C), in which convolutions are quicker (default)",
    )
    group.add_argument("--no_channels_last", dest="channels_last", action="store_false", help="in (N, C, H, W) instead")
    group.add_argument(
        "--compile",
        choices=COMPILE,
        default="auto",
        help="graphs: record a whole training step, attack and all, as one CUDA graph, and launch that; none: every "
        "kernel by itself. auto: none, for no GPU has measured graphs yet; make check-gpu does (default: auto)",
    )


def add_training_options(
    parser: Parser,
    *,
    dataset: str | None,
    epochs: int,
    epochs_alias: str | None,
    learning_rate: float,
    fast: Mapping[str, object],
) -> None:
    """Everything that all three stages take. `fast`: what --preset fast stands for, beside --lr_schedule onecycle.

    `dataset`: the default, None in stages that take it, and how it was trained on, from the checkpoint they begin with.
    """
    parser.epilog = CHECKPOINT_FILES
    plain = None if dataset is None else NONE
    if dataset is None:
        parser.dependent.append(options_of_origin)
    add_augment_option(parser, default=plain)
    add_branch_options(parser, inherited=dataset is None)
    add_attack_options(parser, default=plain, steps=7)
    add_data_options(parser, dataset=dataset, augments=True)
    add_optimizer_options(parser, epochs=epochs, epochs_alias=epochs_alias, learning_rate=learning_rate, fast=fast)
    add_speed_options(parser)
    add_run_options(parser)


def add_augment_option(parser: Parser, *, default: str | None) -> None:
    parser.add_argument(
        "--augment_mode",
        choices=(NONE, "augmix"),
        default=default,
        help=f"augmix adds the AugMix view (default: {default or THAT_OF_THE_CHECKPOINT})",
    )


def add_loss_options(group: argparse._ArgumentGroup, *, with_teacher: bool) -> None:
    """The mode, and the weights of the losses that it may name."""
    group.add_argument(
        "--robust_train_mode",
        metavar="MODE",
        help=f"{mode_help(with_teacher=with_teacher)}. docs/training.md has the table "
        "(default: pgd with an attack, none without)",
    )
    for weight in (loss.weight for loss in losses(with_teacher=with_teacher).values() if loss.weight):
        text = f"{weight.help} (default: {weight.default:g})"
        group.add_argument(f"--{weight.name}", type=number, default=weight.default, help=text)
    group.add_argument("--trades_lambda", type=number, default=6.0, help="weight of the KL of mode trades (default: 6)")


def add_distillation_options(parser: Parser, *, distill: str) -> None:
    group = parser.add_argument_group("distillation")
    group.add_argument(
        "--path_t",
        required=True,
        type=checkpoint_file,
        metavar=CHECKPOINT,
        help="the teacher: a checkpoint of train_teacher.py, or another's state dict of the student's architecture: a "
        "ResNet of torchvision's, or a ResNet or WideResNet for CIFAR as in RobustBench's zoo",
    )
    group.add_argument(
        "--teacher_images",
        choices=TEACHER_IMAGES,
        help="what such a state dict takes where it does not say so itself: raw, pixels in [0, 1]; normalized, those "
        "less the data set's mean and by its deviation (default: torchvision's are normalized; others must be told)",
    )
    group.add_argument("--gamma", type=number, default=0.5, help="weight of cross-entropy (default: 0.5)")
    group.add_argument("--alpha", type=number, default=0.5, help="weight of distillation (default: 0.5)")
    group.add_argument("--kd_T", type=number, default=4.0, help="temperature of distillation (default: 4)")
    add_loss_options(group, with_teacher=True)
    group.add_argument(
        "--distill",
        choices=["kd", *(loss.distill for loss in losses().values() if loss.distill)],
        default=distill,
        help=f"kd leaves the attention terms out (beta 0), attention uses them (default: {distill})",
    )


def training_attack(args: argparse.Namespace) -> AttackSettings | None:
    """The attack that --attack_mode, --steps and so on name."""
    if args.attack_mode == NONE:
        return None
    return settle_attack(attack_named(args.attack_mode), args, steps=args.steps)


def evaluation_attack(args: argparse.Namespace) -> AttackSettings | None:
    """PGD, in the norm of the training attack, however the network was trained."""
    if args.attack_mode == NONE:
        return None
    return settle_attack(judge_of(attack_named(args.attack_mode)), args, steps=args.eval_steps)


def loss_weights(args: argparse.Namespace, *, with_teacher: bool) -> Weights:
    distill = args.distill if with_teacher else None
    own = {
        loss.weight.name: getattr(args, loss.weight.name) if loss.distill in (None, distill) else 0.0
        for loss in losses(with_teacher=with_teacher).values()
        if loss.weight
    }
    if not with_teacher:
        return Weights(trades_lambda=args.trades_lambda, own=own)
    if args.kd_T <= 0:
        raise UserError(f"--kd_T {args.kd_T} is not above 0")
    return Weights(args.gamma, args.alpha, args.kd_T, args.trades_lambda, own)


def optimisation(args: argparse.Namespace, sparsity: Sparsity | None) -> Optimisation:
    if args.learning_rate <= 0:
        raise UserError(f"--learning_rate {args.learning_rate} is not above 0")
    decays = default_decay_epochs(args.epochs) if args.lr_decay_epochs is None else args.lr_decay_epochs
    return Optimisation(
        args.epochs,
        args.learning_rate,
        args.lr_schedule,
        tuple(decays),
        args.lr_decay_rate,
        args.momentum,
        args.weight_decay,
        args.ema,
        args.sync_bn,
        sparsity,
    )
