"""What a step of kind 'private' has found: a measurement between two parties, or only an estimate."""

from __future__ import annotations

from helper.errors import UserError
from helper.files import read_json
from private_inference.costs.tables import read_costs
from reporting.private_costs import PrivateCost, estimated_costs, measured_costs
from reproduction.steps import ESTIMATE, Step


def is_estimate(step: Step) -> bool:
    return bool(step.options.get(ESTIMATE))


def private_cost(step: Step) -> PrivateCost:
    """Over the first link that the options name, else over that of the measurement. Raises UserError."""
    try:
        if is_estimate(step):
            return next(estimated_costs(read_json(step.marker)))
        own, *over_links = measured_costs(read_costs(step.marker))
        return over_links[0] if over_links else own
    except (LookupError, TypeError, StopIteration) as error:
        raise UserError(f"{step.marker}: it lacks what it should hold; remove it, and measure again") from error
