"""Accuracy under an attack that is made of several: shown, and kept, one of them and one batch at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import ceil

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attacks.attack import AttackSettings
from dataset.batches import Loader, ShardedEval
from evaluation.robustness import withstands_part
from helper.errors import UserError
from helper.placement import to_device
from helper.precision import full_precision
from helper.processes import Processes, bar_options, sum_over_processes

# What a part is known to have done to an image; a letter each where it is kept.
UNKNOWN, FELL, STOOD = range(3)
LETTERS = "?01"


def evaluate_parts(
    model: nn.Module,
    branch: int,
    loader: Loader[ShardedEval],
    processes: Processes,
    *,
    attack: AttackSettings,
    seed: int,
    description: str,
    known: Mapping[str, str],
    keep: Callable[[dict[str, str]], None],
) -> dict:
    """{'images': n, 'CA': {}, 'AdvA': {branch: %}, 'parts': {part: % that stand after it}}, over all processes.

    loader: of whole batches, their index the image's place. known: {part: a letter an image}, of an evaluation that was
    killed; `keep` is given that whenever the processes have a batch each.
    """
    images = loader.batch_sampler.num_samples
    rounds = ceil(images / (loader.batch_sampler.batch_size * processes.count))
    flags = {part: _flags(known.get(part, ""), images) for part in attack.entry.parts}
    before, left = torch.full((images,), STOOD), {}
    bar = tqdm(desc=description, unit="pass", unit_scale=True, **bar_options(processes))
    with full_precision(), bar, _counting(model, bar):
        for part, now in flags.items():
            batches = iter(to_device(loader, processes.device))
            for _ in range(rounds if (now == UNKNOWN).any() else 0):
                bar.total = bar.n + _passes(attack.entry.parts, flags) // processes.count
                bar.set_postfix_str(part, refresh=False)
                found = torch.zeros_like(now)
                if (batch := next(batches, None)) and (now[places := batch["index"].cpu()] == UNKNOWN).any():
                    x, labels, standing = batch["clean"], batch["label"], (before[places] == STOOD).to(processes.device)
                    right = withstands_part(part, model, branch, x, labels, standing, attack, batch["index"], seed)
                    found[places] = right.cpu().long() + FELL
                (found,) = sum_over_processes([found])
                if found.any():
                    now += found
                    keep({name: "".join(LETTERS[flag] for flag in values.tolist()) for name, values in flags.items()})
            before, left[part] = now, 100 * int((now == STOOD).sum()) / images
            if processes.is_main:
                tqdm.write(f"{description}: {left[part]:.2f} % of {images:,} images withstand {', '.join(left)}")
    return {"images": images, "CA": {}, "AdvA": {str(branch): left[part]}, "parts": left}


def _flags(letters: str, images: int) -> Tensor:
    """int64 (images,). Raises UserError for what is known of another number of images."""
    if len(letters) not in (0, images):
        raise UserError(f"what is measured already is of {len(letters)} images, not {images}; remove that file")
    return torch.tensor([LETTERS.index(letter) for letter in letters or LETTERS[UNKNOWN] * images])


def _passes(needed: Mapping[str, int], flags: Mapping[str, Tensor]) -> int:
    """How many passes are still to come, if no image falls that has not yet."""
    fallen = torch.stack(list(flags.values())).eq(FELL).any(0)
    return sum(needed[part] * int((~fallen & (now == UNKNOWN)).sum()) for part, now in flags.items())


@contextmanager
def _counting(model: nn.Module, bar: tqdm) -> Iterator[None]:
    """Within the context every pass of an image through the model moves the bar; one with its gradient counts three."""

    def count(_: nn.Module, inputs: tuple[Tensor, ...], __: Tensor) -> None:
        bar.update(len(inputs[0]) * (3 if torch.is_grad_enabled() else 1))

    handle = model.register_forward_hook(count)
    try:
        yield
    finally:
        handle.remove()
