"""The one error a user can cause: bad input, told in one line."""


class InputError(ValueError):
    """A value that cannot be used; the message names the value, the limit and the way out."""
