"""What the other party says, as its model in formats/ has it; for those who have no engine too."""

from __future__ import annotations

from helper.errors import Read, UserError, checked
from helper.files import parse_json


def heard(text: str | bytes, model: type[Read]) -> Read:
    """Raises UserError where it is no party of ours, or one of another version, that says this."""
    try:
        said = parse_json(text)
    except ValueError as error:
        raise UserError(
            f"the other party says what no party of this project says ({error}); is the address right?"
        ) from error
    return checked(model, said, "what the other party says")
