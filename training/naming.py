"""What runs, and the files in them, are called. Names are for people; nothing here or elsewhere parses one."""

from __future__ import annotations

import argparse
from pathlib import Path

from helper.run_folder import run_folder
from models.branches import branch_count

# The tag of a stage-1 run without an attack, after SENet.
PLAIN_TAG = "senet"


def _join(*parts: str | None) -> str:
    return "_".join(part for part in parts if part)


def _augment(args: argparse.Namespace) -> str | None:
    return None if args.augment_mode == "none" else args.augment_mode


def _attack(args: argparse.Namespace) -> str | None:
    return None if args.attack_mode == "none" else args.attack_mode


def _branches(args: argparse.Namespace) -> str | None:
    return None if branch_count(args) == 1 else f"{branch_count(args)}BN"


def teacher_folder(args: argparse.Namespace) -> Path:
    """save/models/ResNet18_cifar10_augmix_pgd_2BN_batch128; a mode other than the default stands after the attack."""
    mode = None if args.robust_train_mode in (None, "pgd", "none") else args.robust_train_mode
    name = _join(
        args.model, args.dataset, _augment(args), _attack(args), mode, _branches(args), f"batch{args.batch_size}"
    )
    return run_folder(args.save_dir, 0, args.run_name or name)


def student_tag(args: argparse.Namespace) -> str:
    """How a stage-1 run was trained: its mode, or 'senet' without an attack."""
    return PLAIN_TAG if args.attack_mode == "none" else args.robust_train_mode


def student_folder(
    args: argparse.Namespace, stage: int, teacher: str, label: str, stage1_tag: str | None = None
) -> Path:
    """S:<student>_T1:<teacher>[_stage1:<tag>]_<dataset>_<label>[_<augment>][_<mode>_kdT<T>_<n>BN_batch<B>].

    `label` is the budget's, 'relu82k'. The last part is left out without an attack, as the published names have it; a
    mode other than the default is then named.
    """
    plain = args.attack_mode == "none"
    mode = None if plain and args.robust_train_mode == "none" else args.robust_train_mode
    name = _join(
        f"S:{args.model_s}",
        f"T1:{teacher}",
        f"stage1:{stage1_tag}" if stage1_tag else None,
        args.dataset,
        label,
        _augment(args),
        mode,
        None if plain else f"kdT{float(args.kd_T)}",
        _branches(args),
        None if plain else f"batch{args.batch_size}",
    )
    return run_folder(args.save_dir, stage, args.run_name or name)


def checkpoint_stem(model: str, stage: int, *, attacked: bool) -> str:
    """ResNet18; CustomResNet18, or CustomResNet18_stage1 without an attack; CustomResNet18_stage2."""
    return model if stage == 0 or (stage == 1 and attacked) else f"{model}_stage{stage}"


def budget_label(kept: int) -> str:
    """82650 -> 'relu82.65k'"""
    return f"relu{kept / 1000:g}k"
