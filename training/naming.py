"""What runs, and the files in them, are called. Names are for people; nothing here or elsewhere parses one."""

from __future__ import annotations

from dataclasses import dataclass

# The tag of a stage-1 run without an attack, after SENet.
PLAIN_TAG = "senet"

# The rule of `checkpoint_stem` and training/judging.py's criteria, as --help has it.
CHECKPOINT_FILES = """\
checkpoints, in the run's folder:
  STEM_best.pth         without an attack: the epoch of the best clean accuracy
  STEM_best_TA0.0.pth   with one: that of the best clean accuracy, branch 0's
  STEM_best_ATA1.0.pth  that of the best accuracy under attack, through the
                        adversarial branch, whose number it names: 0.0, with
                        --use2BN 1.0, with --use3BN 2.0
  STEM_best_ema...pth   with --ema: the same of the averaged weights
  STEM_last.pth         everything needed to go on
STEM is the network's name; _stage2 follows it in stage 2, and _stage1 in a stage 1 without an attack.
"""


@dataclass(frozen=True)
class RunName:
    """`long`: with every option that tells runs apart; `readable`: what begins the short form of that."""

    long: str
    readable: str


def _join(*parts: str | None) -> str:
    return "_".join(part for part in parts if part)


def _unless_none(value: str) -> str | None:
    return None if value == "none" else value


def _branches(count: int) -> str | None:
    return None if count == 1 else f"{count}BN"


def teacher_run(
    model: str, dataset: str, *, augment: str, attack: str, mode: str, branches: int, batch_size: int
) -> RunName:
    """ResNet18_cifar10_augmix_pgd_2BN_batch128; a mode other than the default stands after the attack."""
    long = _join(
        model,
        dataset,
        _unless_none(augment),
        _unless_none(attack),
        None if mode in ("pgd", "none") else mode,
        _branches(branches),
        f"batch{batch_size}",
    )
    return RunName(long, long)


def student_run(
    student: str,
    teacher: str,
    dataset: str,
    label: str,
    *,
    augment: str,
    attacked: bool,
    mode: str,
    temperature: float,
    branches: int,
    batch_size: int,
    stage1_tag: str | None = None,
    density: float | None = None,
) -> RunName:
    """S:<student>_T1:<teacher>[_stage1:<tag>]_<dataset>_<label>[_<augment>][_<mode>_kdT<T>_<n>BN_batch<B>][_density<D>].

    `label` is the budget's, 'relu82k'. The part with the mode is left out without an attack, as the published names
    have it; a mode other than the default is then named. `density`: of sparse weights.
    """
    long = _join(
        f"S:{student}",
        f"T1:{teacher}",
        f"stage1:{stage1_tag}" if stage1_tag else None,
        dataset,
        label,
        _unless_none(augment),
        mode if attacked else _unless_none(mode),
        f"kdT{float(temperature)}" if attacked else None,
        _branches(branches),
        f"batch{batch_size}" if attacked else None,
        None if density is None else f"density{density:g}",
    )
    return RunName(long, _join(student, label, dataset))


def student_tag(mode: str, *, attacked: bool) -> str:
    """How a stage-1 run was trained: its mode, or 'senet' without an attack."""
    return mode if attacked else PLAIN_TAG


def checkpoint_stem(model: str, stage: int, *, attacked: bool) -> str:
    """ResNet18; CustomResNet18, or CustomResNet18_stage1 without an attack; CustomResNet18_stage2."""
    return model if stage == 0 or (stage == 1 and attacked) else f"{model}_stage{stage}"


def budget_label(kept: int) -> str:
    """82650 -> 'relu82.65k'"""
    return f"relu{kept / 1000:g}k"
