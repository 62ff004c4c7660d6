"""The error that a user can mend."""


class UserError(Exception):
    """Something the user gave is wrong. The message says what, and what to do, in one line."""
