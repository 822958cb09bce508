"""The one error a user can cause, bad input, told in one line; and one line of any other error."""


class InputError(ValueError):
    """A value that cannot be used; the message names the value, the limit and the way out."""


STOPS = (KeyboardInterrupt, MemoryError)
"""What ends long work before its time; what is known by then is kept."""


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or its class where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
