"""ReLU budgets: a number k_l of ReLUs per layer (SENet: Kundu et al., ICLR 2023, arXiv 2301.09254)."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from fractions import Fraction

from torch import nn

from helper.command_line import LARGEST, exact
from helper.errors import UserError
from models.layers import relu_sites
from sensitivity import load_budget, load_profile

LEAST_SHARE = 1e-3  # of the largest sensitivity, what a layer counts as whose measured one is not above 0


def check_layers(found: int, model: nn.Module, what: str) -> None:
    """Raise UserError unless `found`, the length of a list that `what` names, is the number of ReLU layers."""
    layers = len(relu_sites(model))
    if found != layers:
        raise UserError(f"{what} names {found} ReLU layers, this network has {layers}")


def budget_from_fractions(
    model: nn.Module, fractions: Sequence[float], source: str, available: Sequence[int] | None = None
) -> list[int]:
    """k_l = floor(s_l * C*H*W) for every layer. Raises UserError for a list of another length or outside [0, 1]."""
    check_layers(len(fractions), model, source)
    for fraction in fractions:
        if not 0 <= fraction <= 1:
            raise UserError(f"{source}: {fraction} is no fraction between 0 and 1")
    sites = relu_sites(model)
    budget = [math.floor(fraction * site.total) for fraction, site in zip(fractions, sites.values(), strict=True)]
    for name, kept, most in zip(sites, budget, available or budget, strict=True):
        if kept > most:
            raise UserError(f"{source}: {kept} ReLUs of {name}, of which the network of --mask_from has {most}")
    return budget


def relu_count(text: str) -> int | str:
    """'82650', '50k' or '9%': a number of ReLUs, or a share of all, which stays a text until there is a network."""
    if text.endswith("%"):
        if not 0 <= exact(text[:-1]) <= 100:
            raise argparse.ArgumentTypeError(f"{text} does not lie between 0% and 100%")
        return text
    value = exact(text[:-1]) * 1000 if text.endswith("k") else exact(text)
    if value > LARGEST:
        raise argparse.ArgumentTypeError(f"{text} is above {LARGEST:,}")
    if value.denominator != 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of ReLUs")
    return int(value)


relu_count.__name__ = "number of ReLUs"  # argparse names the type in its error line


def total_of(budget: int | str, model: nn.Module) -> int:
    """The ReLUs that a `relu_count` means in this network."""
    return relus_of(budget, sum(site.total for site in relu_sites(model).values()))


def relus_of(budget: int | str, total: int) -> int:
    """The ReLUs that a `relu_count` means where there are `total`: a share is rounded down."""
    return budget if isinstance(budget, int) else math.floor(Fraction(budget[:-1]) / 100 * total)


def check_total(
    total: int, model: nn.Module, available: Sequence[int] | None = None, option: str = "--relu_budget"
) -> None:
    """Raise UserError for a total that the network, or where given the one with `available` ReLUs, does not have.

    `option` gave it.
    """
    most = sum(available or (site.total for site in relu_sites(model).values()))
    if not 0 <= total <= most:
        where = "this network" if available is None else "the network of --mask_from"
        raise UserError(f"{option} {total}: {where} has {most} ReLUs; name a number from 0 to that")


def allocate_budget(
    model: nn.Module, total: int, profile: Sequence[float], available: Sequence[int] | None = None
) -> list[int]:
    """Exactly `total` ReLUs as k_l = min(N_l, kappa * eta_l), `profile` being eta, with kappa solved for the total.

    N_l are the ReLUs of the layers, or `available`. Raises UserError for a total that the network does not have.
    """
    check_layers(len(profile), model, "the sensitivity profile")
    check_total(total, model, available)
    sizes = list(available or (site.total for site in relu_sites(model).values()))
    return in_proportion(total, profile, sizes)


def in_proportion(total: int, weights: Sequence[float], sizes: Sequence[int]) -> list[int]:
    """Exactly `total`, at most the sum of `sizes`, as min(size, kappa * weight), kappa solved for it; weights are > 0.

    What flooring leaves over goes to the largest remainders.
    """
    # A layer fills up at kappa = N_l / eta_l; settle layers in that order, until kappa stays below the next one's.
    order = sorted(range(len(sizes)), key=lambda layer: sizes[layer] / weights[layer])
    left, weight = total, sum(weights)
    shares = [0.0] * len(sizes)
    for position, layer in enumerate(order):
        if left * weights[layer] < sizes[layer] * weight:
            for open_layer in order[position:]:
                shares[open_layer] = left * weights[open_layer] / weight
            break
        shares[layer] = sizes[layer]
        left, weight = left - sizes[layer], weight - weights[layer]
    budget = [min(size, math.floor(share)) for size, share in zip(sizes, shares, strict=True)]
    by_remainder = sorted(range(len(sizes)), key=lambda layer: budget[layer] - shares[layer])
    while (missing := total - sum(budget)) > 0:
        for layer in [layer for layer in by_remainder if budget[layer] < sizes[layer]][:missing]:
            budget[layer] += 1
    return budget


def layer_sensitivities(
    architecture: str, model: nn.Module, file: str | None = None, option: str = "--layer_sensitivity"
) -> list[float]:
    """How much each ReLU layer matters: what compute_sensitivity.py measured, or the profile of the architecture.

    ResNet18's, stretched, where it has none of its own. `option` gave the file. Raises UserError for a file without, or
    of another network.
    """
    if file is not None:
        found = load_budget(file, option)
        if found.sensitivity is None:
            raise UserError(
                f"{option} {file}: it holds no sensitivities; compute_sensitivity.py writes a file that does"
            )
        check_layers(len(found.sensitivity), model, f"{option} {file}")
        if found.model != architecture:
            raise UserError(f"{option} {file}: it is of {found.model}, this network is a {architecture}")
        return list(found.sensitivity)
    profile, own = load_profile(architecture)
    return list(profile) if own else interpolate_profile(profile, len(relu_sites(model)))


def as_profile(sensitivities: Sequence[float]) -> list[float]:
    """Measured ones as `allocate_budget` takes them: all above 0."""
    least = LEAST_SHARE * max(sensitivities)
    if least <= 0:
        raise UserError("no layer's measured sensitivity is above 0: measure with more --epochs or images")
    return [max(value, least) for value in sensitivities]


def interpolate_profile(profile: Sequence[float], layers: int) -> list[float]:
    """`profile`, a function of relative depth, read at `layers` evenly spaced depths."""
    last = len(profile) - 1
    result = []
    for layer in range(layers):
        depth = layer * last / max(layers - 1, 1)
        below = min(int(depth), last - 1)
        result.append(profile[below] + (depth - below) * (profile[below + 1] - profile[below]))
    return result
