"""One call: what becomes of it, and how it travels to another process and back."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import cloudpickle

from deepmad.search_spaces.errors import InputError, first_line
from deepmad.tasks.role import Done, Failed, Outcome

T = TypeVar("T")
R = TypeVar("R")


def call(function: Callable[[T], R], item: T) -> Outcome[R]:
    """Return what becomes of `function(item)`; whatever it raises costs this call only, an interrupt excepted."""
    began = time.perf_counter()
    try:
        value = function(item)
    except SystemExit as error:
        return Failed(f"it called for the program's end ({error})", time.perf_counter() - began)
    except Exception as error:  # noqa: BLE001 - as said above
        return Failed(first_line(error), time.perf_counter() - began)
    return Done(value, time.perf_counter() - began)


def packed(value: object, name: str) -> bytes:
    """Return `value` as bytes that another process can load, lambdas and closures included.

    Raises `InputError`, which calls it `name`, where that cannot be done.
    """
    try:
        content: bytes = cloudpickle.dumps(value)
    except Exception as error:  # a class may raise anything here
        raise InputError(f"{name} cannot be sent to another process ({first_line(error)})") from error
    return content


def call_packed(function: bytes, item: bytes) -> bytes:
    """Return the packed outcome of a packed call.

    The function is loaded afresh for every call, so that nothing a call leaves in it changes the next one.
    """
    outcome: Outcome[Any] = call(lambda packed_item: cloudpickle.loads(function)(cloudpickle.loads(packed_item)), item)
    try:
        return packed(outcome, "its value")
    except InputError as error:
        return packed(Failed(str(error), outcome.seconds), "its failure")


def unpacked(message: bytes) -> Outcome[Any]:
    """Return the outcome that `call_packed` packed."""
    try:
        outcome: Outcome[Any] = cloudpickle.loads(message)
    except Exception as error:  # noqa: BLE001 - as in `packed`
        return Failed(f"its value cannot be read here ({first_line(error)})", 0.0)
    return outcome
