"""What a step of kind 'private' has found: a measurement between two parties, or only an estimate."""

from __future__ import annotations

from formats.private_costs import Estimates
from helper.errors import UserError
from helper.files import read_record
from private_inference.costs.tables import read_costs
from reporting.private_costs import PrivateCost, estimated_costs, measured_costs
from reproduction.steps import ESTIMATE, Step


def is_estimate(step: Step) -> bool:
    return bool(step.options.get(ESTIMATE))


def private_cost(step: Step) -> PrivateCost:
    """Over the first link that the options name, else over that of the measurement. Raises UserError."""
    if is_estimate(step):
        return next(estimated_costs(read_record(step.marker, Estimates)))
    found = read_costs(step.marker)
    if not found.measured:
        raise UserError(f"{step.marker}: nothing is measured in it; remove it, and measure again")
    own, *over_links = measured_costs(found)
    return over_links[0] if over_links else own
