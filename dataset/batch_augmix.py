"""AugMix (dataset/augmix.py) of whole batches on any device: the same distribution, some dozens of kernels a batch.

What is drawn is drawn on the CPU, where the images' numbers are, so that a GPU is told how many images take which
operation and never has to be asked. All chains go together: at each of their steps, the images that drew an affine
operation take one bilinear gather, those that drew another one look-up. Between operations pixels are uint8, and every
operation gives the bytes that the one of the same name in dataset/augmix.py gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from dataset import augmix
from helper.hash_random import uniform

WIDTH, MAX_DEPTH = 3, 3
NAMES = [operation.__name__ for operation in augmix.OPERATIONS]
AFFINE = ("translate_x", "translate_y", "shear_x", "rotate", "shear_y")
NONE = -1
# A CPU takes as many images at once: intermediate results of more leave its cache, and cost up to 1.4 times the time.
CPU_IMAGES = 64
# How many numbers `draw` takes of an image's.
NUMBERS = 2 * WIDTH + 1 + 3 * WIDTH * MAX_DEPTH


@dataclass(frozen=True)
class Draws:
    """What AugMix does with B images, on the CPU.

    weights     float32 (B, 1 + WIDTH): of the image itself and of each chain; a row adds up to 1
    operations  int64 (MAX_DEPTH, WIDTH, B): a place in NAMES, or NONE where the chain has ended
    levels      float64 (MAX_DEPTH, WIDTH, B): signed, as the operations of dataset/augmix.py take it
    """

    weights: Tensor
    operations: Tensor
    levels: Tensor

    def split(self, size: int) -> list[Draws]:
        """Those of every `size` images."""
        return list(
            map(Draws, self.weights.split(size), self.operations.split(size, dim=2), self.levels.split(size, dim=2))
        )


def draw(numbers: Tensor, severity: float = 3) -> Draws:
    """From independent uniform `numbers` (B, NUMBERS) in (0, 1), float64 on the CPU."""
    blend, exponentials, depths, steps = numbers.split((1, WIDTH, WIDTH, 3 * WIDTH * MAX_DEPTH), dim=1)
    # Exponentials over their sum are Dirichlet(1, ..., 1); Beta(1, 1) is uniform.
    exponentials = -exponentials.log()
    shares = (exponentials / exponentials.sum(1, keepdim=True)).float()
    blend = blend.float()
    depth = 1 + (depths * MAX_DEPTH).long()
    choice, size, sign = steps.view(-1, 3, MAX_DEPTH, WIDTH).permute(1, 2, 3, 0)
    running = torch.arange(MAX_DEPTH)[:, None, None] < depth.T
    levels = 0.1 + (severity - 0.1) * size
    return Draws(
        weights=torch.cat([1 - blend, blend * shares], dim=1),
        operations=(choice * len(NAMES)).long().where(running, NONE),
        levels=levels.where(sign < 0.5, -levels),
    )


def batch_augmix(images: Tensor, indices: Tensor, *key: int, severity: float = 3) -> Tensor:
    """AugMix of images (B, 3, S, S), uint8 or float32 in [0, 1] -> float32 (B, 3, S, S) in [0, 1], on their device.

    Row i depends on its image, on indices[i] and on `key` (seed, epoch, view) alone. `indices` (B,) lie on the CPU.
    """
    return mix(images, draw(uniform(indices, NUMBERS, *key), severity))


def mix(images: Tensor, draws: Draws) -> Tensor:
    """AugMix as drawn; shapes and types as for `batch_augmix`."""
    if images.device.type == "cpu" and len(images) > CPU_IMAGES:
        return torch.cat(list(map(mix, images.split(CPU_IMAGES), draws.split(CPU_IMAGES))))
    pixels = to_bytes(images)
    chains = pixels.repeat(WIDTH, 1, 1, 1)
    for operations, levels in zip(draws.operations.flatten(1), draws.levels.flatten(1), strict=True):
        operate(chains, operations, levels)
    weights = draws.weights.to(pixels.device, non_blocking=True)
    mixed = pixels * weights[:, 0, None, None, None]
    for chained, weight in zip(chains.chunk(WIDTH), weights.T[1:], strict=True):
        mixed += chained * weight[:, None, None, None]
    return mixed.div_(255).clamp_(0, 1)


def to_bytes(images: Tensor) -> Tensor:
    return images if images.dtype == torch.uint8 else (images * 255).round_().to(torch.uint8)


def operate(pixels: Tensor, operations: Tensor, levels: Tensor) -> None:
    """Change pixels (N, 3, S, S), uint8 on any device, in place: row i by operation NAMES[operations[i]].

    `operations` int64 (N,), NONE for a row that stays as it is, and `levels` float64 (N,) lie on the CPU.
    """
    rows = {name: (operations == number).nonzero().flatten() for number, name in enumerate(NAMES)}
    size, device = pixels.shape[-1], pixels.device
    moved = torch.cat([rows[name] for name in AFFINE])
    if len(moved):
        matrices = torch.cat([affine_matrices(name, levels[rows[name]], size) for name in AFFINE])
        place = moved.to(device, non_blocking=True)
        counts = {name: len(rows[name]) for name in AFFINE}
        chosen = affine(pixels.index_select(0, place), matrices.to(device, non_blocking=True), counts)
        pixels.index_copy_(0, place, chosen)
    toned = torch.cat([rows[name] for name in TABLES])
    if len(toned):
        place = toned.to(device, non_blocking=True)
        chosen = pixels.index_select(0, place)
        sizes = [len(rows[name]) for name in TABLES]
        parts = zip(TABLES.values(), chosen.split(sizes), levels[toned].split(sizes), strict=True)
        tables = torch.cat([table(part, level) for table, part, level in parts if len(part)])
        pixels.index_copy_(0, place, tables.gather(2, chosen.flatten(2).long()).view_as(chosen))


def affine_matrices(name: str, levels: Tensor, size: int) -> Tensor:
    """float64 (N, 6): the output at (x, y) is the input at (ax + by + c, dx + ey + f); pixel centres are at 1/2."""
    matrices = torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=torch.float64).repeat(len(levels), 1)
    if name == "rotate":
        return rotations(size)[30 + (levels * 30 / 10).long()]
    if name.startswith("shear"):
        matrices[:, 1 if name == "shear_x" else 3] = levels * 0.3 / 10
    else:
        matrices[:, 2 if name == "translate_x" else 5] = (levels * (size / 3) / 10).trunc()
    return matrices


@cache
def rotations(size: int) -> Tensor:
    """float64 (61, 6): by -30 to 30 degrees about the centre, as Pillow has them. Its bytes hang on every digit."""
    rows, centre = [], size / 2
    for angle in range(-30, 31):
        turn = -math.radians(angle)
        cos, sin, minus_sin = (round(value, 15) for value in (math.cos(turn), math.sin(turn), -math.sin(turn)))
        shift_x, shift_y = (p * -centre + q * -centre + centre for p, q in ((cos, sin), (minus_sin, cos)))
        rows.append([cos, sin, shift_x, minus_sin, cos, shift_y])
    return torch.tensor(rows, dtype=torch.float64)


def affine(pixels: Tensor, matrices: Tensor, counts: dict[str, int]) -> Tensor:
    """uint8 (N, 3, S, S) by float64 (N, 6), bilinear, black from outside the image: byte for byte as Pillow does it.

    Pillow computes in double precision, lets the border's pixels reach half a pixel further, and cuts fractions off.
    `counts`: how many rows are of each of AFFINE, in its order.
    """
    count, channels, size, _ = pixels.shape
    centres = torch.arange(size, dtype=torch.float64, device=pixels.device) + 0.5
    a, b, c, d, e, f = matrices[..., None, None].unbind(1)
    x = (a * centres + b * centres[:, None]).add_(c)
    y = (d * centres + e * centres[:, None]).add_(f)
    inside = (x >= 0).logical_and_(x < size).logical_and_(y >= 0).logical_and_(y < size)
    x, y = x.clamp_(0, size).sub_(0.5), y.clamp_(0, size).sub_(0.5)
    left, top = x.floor(), y.floor()
    x, y = x.sub_(left).view(count, 1, -1), y.sub_(top).view(count, 1, -1)
    # One repeated pixel around makes all four neighbours of every place exist, at fixed distances from the first.
    width = size + 2
    corner = top.add_(1).mul_(width).add_(left).add_(1).long().view(count, 1, -1).expand(-1, channels, -1)
    padded = F.pad(pixels, (1, 1, 1, 1))
    padded[:, :, 0], padded[:, :, -1] = padded[:, :, 1], padded[:, :, -2]
    padded[..., 0], padded[..., -1] = padded[..., 1], padded[..., -2]
    flat = padded.flatten(2)

    def neighbours(start: int, rows: slice) -> Tensor:
        return flat[rows, :, start:].gather(2, corner[rows])

    # Translations by whole pixels need one of the four, shears two: the order of AFFINE makes slices of who needs what.
    still = counts["translate_x"] + counts["translate_y"]
    rotated = slice(still + counts["shear_x"], still + counts["shear_x"] + counts["rotate"])
    across, along = slice(still, rotated.stop), slice(rotated.start, count)
    moved = neighbours(0, slice(None))
    values = moved[across.start :].double()
    upper, lower = values[: across.stop - still], neighbours(width, along).double()
    upper += neighbours(1, across).double().sub_(upper).mul_(x[across])
    turned = lower[: counts["rotate"]]
    turned += neighbours(width + 1, rotated).double().sub_(turned).mul_(x[rotated])
    upper = values[along.start - still :]
    upper += lower.sub_(upper).mul_(y[along])
    moved[still:] = values  # cuts the fractions off
    return moved.mul_(inside.view(count, 1, -1)).view_as(pixels)


def autocontrast_table(pixels: Tensor, levels: Tensor) -> Tensor:
    """uint8 (N, 3, S, S) -> uint8 (N, 3, 256), the new value of each old one; likewise in the functions below."""
    places = pixels.flatten(2)
    low, high = places.amin(2, keepdim=True), places.amax(2, keepdim=True)
    flat, low, high = low == high, low.double(), high.double()
    # A tensor, because torch computes 255 / tensor as 255 times its reciprocal, which rounds twice.
    scale = torch.full_like(low, 255) / (high - low).masked_fill(flat, 255)
    values = torch.arange(256, dtype=torch.float64, device=pixels.device)
    return (values * scale - low.masked_fill(flat, 0) * scale).clamp_(0, 255).to(torch.uint8)


def equalize_table(pixels: Tensor, levels: Tensor) -> Tensor:
    places = pixels.flatten(2).long()
    ones = torch.ones_like(places, dtype=torch.int32)
    counts = ones.new_zeros(*places.shape[:2], 256).scatter_add_(2, places, ones)
    last = places.amax(2, keepdim=True)
    step = (places.shape[2] - counts.gather(2, last)) // 255
    before = counts.cumsum(2) - counts
    spread = ((step // 2 + before) // step.clamp(min=1)).clamp_(0, 255)
    return spread.where(step > 0, torch.arange(256, device=pixels.device)).to(torch.uint8)


def posterize_table(pixels: Tensor, levels: Tensor) -> Tensor:
    dropped = 4 + (levels.abs() * 4 / 10).long()[:, None]
    return per_image(torch.arange(256) >> dropped << dropped, pixels)


def solarize_table(pixels: Tensor, levels: Tensor) -> Tensor:
    threshold = 256 - (levels.abs() * 256 / 10).long()[:, None]
    values = torch.arange(256)
    return per_image(values.where(values < threshold, 255 - values), pixels)


def per_image(table: Tensor, pixels: Tensor) -> Tensor:
    """int64 (N, 256) on the CPU -> uint8 (N, 3, 256) beside the pixels, the same for every channel."""
    table = table.to(torch.uint8).to(pixels.device, non_blocking=True)
    return table[:, None].expand(-1, pixels.shape[1], -1)


TABLES = {
    "autocontrast": autocontrast_table,
    "equalize": equalize_table,
    "posterize": posterize_table,
    "solarize": solarize_table,
}
