"""Time and memory of ways to compute a masked ReLU, at the sizes that a network meets it in.

    python -m benchmarks.bench_masked_relu
    python -m benchmarks.bench_masked_relu --device cuda --dtype bfloat16 --batch_size 512 --out masked_relu.json

    relu          plain ReLU: the reference, which does less
    where         torch.where(mask, relu(x), x)
    masked_fill   x.masked_fill(mask & (x <= 0), 0)
    maximum       torch.maximum(x, floor), the floor being 0 where the mask is true and -inf where it is false
    compare       the same, but the backward pass looks at the output: torch.where(out > floor, gradient, 0)
    bool          the same, but what is kept for the backward pass is out > floor, a byte a value
    site          models.layers.MaskedReLU, what the networks run

First all are held against `where`, in values and gradients. They must agree on ordinary numbers; where one departs at
0, an infinity or NaN, the output says so, and `site` must not. Then they are timed in turns, without gradients
(inference) and forward and backward (training); figures are medians over --repeats, ratios those of the medians.
`network` is the sum over all sites of --model. Memory is what convolution -> norm -> masked ReLU -> convolution saves
for its backward pass, every storage counted once: an output that the second convolution keeps anyway costs nothing.
"""

from __future__ import annotations

from helper.script import run_script

import argparse
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from operator import itemgetter

import torch
from torch import Tensor, nn

from benchmarks.frame import add_timing_options, describe_machine, write_figures
from benchmarks.turns import medians, speed_ratios, take_turns
from helper import command_line
from helper.placement import place_model
from helper.processes import start_processes
from models import ARCHITECTURES, build_model
from models.layers import BranchNorm2d, MaskedReLU, relu_sites

FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
PASSES = ("inference", "training")
REFERENCE = "relu"
ORDINARY = (1.5, -1.5)
SPECIAL = (0.0, -0.0, math.inf, -math.inf, math.nan)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_line.Parser(__doc__)
    parser.add_argument(
        "--model", choices=ARCHITECTURES, default="ResNet18", help="its sites are taken (default: ResNet18)"
    )
    parser.add_argument("--image_size", type=command_line.positive, default=32, help="default: 32")
    parser.add_argument("--batch_size", type=command_line.positive, default=64, help="default: 64")
    parser.add_argument("--kept", type=command_line.pixels, default=0.15, help="share of ReLUs (default: 0.15)")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="default: float32")
    parser.add_argument("--calls", type=command_line.positive, default=3, help="a turn (default: 3)")
    add_timing_options(parser, repeats=7)
    return parser.parse_args(argv)


class Compare(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, floor: Tensor) -> Tensor:
        out = torch.maximum(x, floor)
        ctx.save_for_backward(out, floor)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        out, floor = ctx.saved_tensors
        return torch.where(out > floor, gradient, 0), None


class KeepBool(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, floor: Tensor) -> Tensor:
        out = torch.maximum(x, floor)
        ctx.save_for_backward(out > floor)
        return out

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (passes,) = ctx.saved_tensors
        return torch.where(passes, gradient, 0), None


def contestants_at(site: MaskedReLU) -> dict[str, Callable[[Tensor], Tensor]]:
    """All of them with the mask and floor of `site`."""
    floor, mask = site.floor, site.mask[None]
    return {
        "relu": torch.relu,
        "where": lambda x: torch.where(mask, torch.relu(x), x),
        "masked_fill": lambda x: x.masked_fill(mask & (x <= 0), 0),
        "maximum": lambda x: torch.maximum(x, floor.to(x.dtype)),
        "compare": lambda x: Compare.apply(x, floor.to(x.dtype)),
        "bool": lambda x: KeepBool.apply(x, floor.to(x.dtype)),
        "site": site,
    }


def forward_and_backward(function: Callable[[Tensor], Tensor], x: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and the gradient of x, which requires one."""
    out = function(x)
    return out, torch.autograd.grad(out, x, upstream)[0]


def departures(dtype: torch.dtype, device: torch.device) -> dict[str, list[str]]:
    """Where each contestant's output or gradient is not that of `where`; raises RuntimeError where it must be."""
    numbers = torch.tensor([*ORDINARY, *SPECIAL], dtype=dtype, device=device)
    x = numbers.view(1, -1, 1, 1).expand(1, -1, 1, 2).contiguous().requires_grad_()
    mask = torch.tensor([True, False], device=device).expand(len(numbers), 1, 2)
    contestants = contestants_at(site_with(mask))
    expected = forward_and_backward(contestants["where"], x, torch.ones_like(x))
    found: dict[str, list[str]] = {}
    for name, contestant in contestants.items():
        if name == REFERENCE:
            continue
        found[name] = []
        for what, ours, theirs in zip(
            ("value", "gradient"), forward_and_backward(contestant, x, torch.ones_like(x)), expected, strict=True
        ):
            same = torch.isclose(ours, theirs, rtol=0, atol=0, equal_nan=True)[0, :, 0]
            for row, column in (~same).nonzero().tolist():
                number, place = float(numbers[row]), "kept" if column == 0 else "not kept"
                got = float(ours[0, row, 0, column])
                if name == "site" or number in ORDINARY:
                    raise RuntimeError(f"{name}: the {what} at {number} is {got}, ReLU {place}")
                found[name].append(f"{what} {got:g} at {number:g}, ReLU {place}")
    return found


def site_with(mask: Tensor) -> MaskedReLU:
    """`mask`: bool (C, H, W), laid out channels last as the floor is."""
    site = MaskedReLU().to(mask.device)
    channels, height, width = mask.shape
    site.map_shape = (channels, height, width)
    site.set_mask(mask[None].contiguous(memory_format=torch.channels_last)[0])
    return site


def saved_bytes(function: Callable[[Tensor], Tensor], site: MaskedReLU, x: Tensor) -> int:
    """What convolution -> norm -> `function` -> convolution saves for backward beside parameters, buffers and x."""
    channels = x.shape[1]
    layers = (nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2))
    first, second = (place_model(layer, x.device).to(x.dtype) for layer in layers)
    norm = BranchNorm2d(channels, 1).to(x.device)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        out = second(function(norm(first(x))))
    there = [x, out]
    for module in (first, second, norm, site):
        there += [*module.parameters(), *module.buffers()]
    known = {tensor.untyped_storage().data_ptr() for tensor in there}
    # `kept` and `there` hold every storage, so that no address stands for two of them.
    sizes = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    return sum(size for address, size in sizes.items() if address not in known)


def measure(
    shape: tuple[int, int, int],
    layout: str,
    device: torch.device,
    *,
    kept: float,
    batch_size: int,
    dtype: torch.dtype,
    calls: int,
    repeats: int,
) -> dict:
    """{pass: {'seconds', 'median', 'times_relu'}, 'saved_bytes'} of all contestants for maps (B, *shape)."""
    generator = torch.Generator().manual_seed(0)
    site = site_with((torch.rand(shape, generator=generator) < kept).to(device))
    x, upstream = (
        torch.randn(batch_size, *shape, generator=generator).to(device, dtype).contiguous(memory_format=FORMATS[layout])
        for _ in range(2)
    )
    contestants = contestants_at(site)
    saved = {name: saved_bytes(function, site, x) for name, function in contestants.items()}
    cell: dict[str, dict] = {"saved_bytes": saved}

    def inference(function: Callable[[Tensor], Tensor]) -> None:
        with torch.no_grad():
            for _ in range(calls):
                function(x)

    def training(function: Callable[[Tensor], Tensor]) -> None:
        for _ in range(calls):
            forward_and_backward(function, x, upstream)

    for name, run in zip(PASSES, (inference, training), strict=True):
        x.requires_grad_(name == "training")
        runs = {key: lambda f=f, run=run: run(f) for key, f in contestants.items()}
        turns = take_turns(runs, repeats, device, rehearse=True)
        seconds = {key: [time / calls for time in times] for key, times in turns.items()}
        middle = medians(seconds)
        cell[name] = {"seconds": seconds, "median": middle, "times_relu": speed_ratios(middle, REFERENCE)}
    return cell


def of_the_network(cells: dict[str, dict], counts: dict[str, int]) -> dict:
    """Medians and bytes of `cells` summed over all sites: {pass: {'median', 'times_relu'}, 'saved_bytes'}."""

    def median_of(which: str, cell: dict) -> dict[str, float]:
        return cell[which]["median"]

    def total(pick: Callable[[dict], dict[str, float]]) -> dict[str, float]:
        names = pick(next(iter(cells.values())))
        return {name: sum(count * pick(cells[shape])[name] for shape, count in counts.items()) for name in names}

    summed: dict[str, dict] = {"saved_bytes": total(itemgetter("saved_bytes"))}
    for name in PASSES:
        middle = total(partial(median_of, name))
        summed[name] = {"median": middle, "times_relu": speed_ratios(middle, REFERENCE)}
    return summed


def table(layout: str, cells: dict[str, dict], counts: dict[str, int]) -> str:
    names = cells["network"]["saved_bytes"]
    lines = []
    for which in PASSES:
        lines += ["", f"{layout}, {which}: ms a call, and speed relative to plain ReLU"]
        heads = [f"{counts[shape]} x {shape}" if shape in counts else shape for shape in cells]
        lines += [f"{'':12}" + "".join(f"{head:>20}" for head in heads)]
        for name in names:
            row = ((cells[shape][which]["median"][name], cells[shape][which]["times_relu"][name]) for shape in cells)
            lines += [f"{name:12}" + "".join(f"{1e3 * seconds:13.3f} {ratio:6.2f}" for seconds, ratio in row)]
    lines += ["", f"{layout}, MB (1e6 bytes) saved for backward around a site"]
    for name in names:
        lines += [f"{name:12}" + "".join(f"{cell['saved_bytes'][name] / 1e6:20.2f}" for cell in cells.values())]
    return "\n".join(lines)


def main(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    device = start_processes(args.device).device
    dtype = getattr(torch, args.dtype)
    departing = departures(dtype, device)
    sites = relu_sites(build_model(args.model, num_classes=10, image_size=args.image_size)).values()
    shapes = {"x".join(map(str, site.map_shape)): site.map_shape for site in sites}
    counts = Counter("x".join(map(str, site.map_shape)) for site in sites)

    machine = describe_machine(device)
    print(f"{args.model}, batches of {args.batch_size}, {args.dtype}, {args.kept:.0%} of the ReLUs kept")
    for name, places in departing.items():
        print(f"{name:12} {'; '.join(places) or 'agrees with where, at 0, infinities and NaN too'}")
    sizes = {"kept": args.kept, "batch_size": args.batch_size, "calls": args.calls, "repeats": args.repeats}
    figures = {}
    for layout in FORMATS:
        figures[layout] = {name: measure(shape, layout, device, dtype=dtype, **sizes) for name, shape in shapes.items()}
        figures[layout]["network"] = of_the_network(figures[layout], counts)
        print(table(layout, figures[layout], counts), flush=True)
    write_figures(vars(args), machine, {"departures": departing, "sites": counts, "layouts": figures})


if __name__ == "__main__":
    run_script(main, parse_args)
