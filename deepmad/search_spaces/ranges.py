"""The least and the largest value of every quantity that means something; one place for options, files and Python."""

from dataclasses import dataclass, fields
from numbers import Integral, Real
from sys import float_info
from typing import Any, get_args

import numpy as np
from pydantic import Field

from deepmad.search_spaces.errors import InputError, shown


@dataclass(frozen=True)
class Range:
    """The values of a quantity, both ends included; `least` is not where it is `above` it.

    `way_out` says what to give in the place of others.
    """

    least: float
    most: float
    way_out: str
    whole: bool = False
    above: bool = False

    def __contains__(self, value: Any) -> bool:
        return bool((self.least < value if self.above else self.least <= value) and value <= self.most)

    def __str__(self) -> str:
        return f"{'above ' if self.above else ''}{_told(self.least)} to {_told(self.most)}"


MOST_COUNTED = 2**53
"""Up to here floating-point numbers hold every integer, and products of two such limits fit where they are formed."""
_LIFTED = "none lifts the limit"

RANGES = {
    "seed": Range(0, 2**31 - 1, "the solver takes no other", whole=True),
    "workers": Range(1, 1024, "leave it out for all cores", whole=True),
    "threads": Range(1, 1024, "give the cores that the network may use", whole=True),
    "batch": Range(1, 65_536, "give the images of one batch", whole=True),
    "resolution": Range(1, 65_536, "give the side of the input in pixels", whole=True),
    "classes": Range(0, 10_000_000, "0 is a backbone without classifier", whole=True),
    "channels": Range(1, 1_000_000, "give a number of channels", whole=True),
    "kernel": Range(1, 31, "give an odd side in pixels", whole=True),
    "depth": Range(1, 10_000, "give the blocks of a stage", whole=True),
    "multiple": Range(8, 1024, "16, 32 and 64 are usual", whole=True),
    "expansion": Range(0, 64, "give the inner width as a multiple of out", above=True),
    "limit": Range(0, float_info.max, "None lifts the limit", above=True),
    "macs": Range(1, MOST_COUNTED, _LIFTED),
    "params": Range(1, MOST_COUNTED, _LIFTED),
    "activations": Range(1, MOST_COUNTED, _LIFTED),
    "memory": Range(1, MOST_COUNTED, _LIFTED),
    "rho": Range(1e-6, 1e6, _LIFTED),
    "latency": Range(1e-9, 1e7, f"it is in seconds for one batch; {_LIFTED}"),
    "throughput": Range(1e-6, 1e12, f"it is in images a second; {_LIFTED}"),
    "alpha": Range(0, 1e6, "8 is usual for the last scale, 1 for the others"),
    "beta": Range(0, 1e6, "10 is usual"),
    "growth": Range(0, 1e6, "leave it out for no bound", above=True),
    "ratio": Range(0, 1e6, "leave it out for no bound"),
    "gap": Range(0, 1000, "0.01 is one percent"),
    "time_limit": Range(0, 1e6, "give seconds, eleven days at most", above=True),
    "minutes": Range(0, 1e4, "give minutes (a week has 10,080)"),
    "deterministic_limit": Range(0, 1e6, "a unit is about a second of one core", above=True),
    "generations": Range(1, 1_000_000_000, "60 to 1000 are usual", whole=True),
    "population": Range(8, 100_000, "800 is usual", whole=True),
    "islands": Range(1, 1024, "one a core is usual", whole=True),
    "migration_every": Range(1, 1_000_000_000, "10 is usual", whole=True),
    "bounds": Range(0, 1000, "20 are usual; 0 proves none", whole=True),
    "rounds": Range(1, 100, "6 are usual", whole=True),
    "top": Range(1, 1000, "4 are usual", whole=True),
    "relative": Range(1e-3, 1e6, "it is a multiple of the throughput without a target"),
}


def field(quantity: str) -> Any:
    """Return pydantic's field of a quantity: no text and no boolean is taken for a number."""
    known = RANGES[quantity]
    if known.above:
        return Field(strict=True, gt=known.least, le=known.most)
    return Field(strict=True, ge=known.least, le=known.most)


def check(quantity: str, value: object, name: str | None = None) -> Any:
    """Return `value` as a number of Python's own, where it may be one of NumPy's.

    Raises `InputError` unless it is a number in the quantity's range; `name` is what the user calls it.
    """
    number = value.item() if isinstance(value, np.number) else value
    if (fault := fault_of(quantity, number)) is not None:
        raise InputError(f"{name or quantity}: {shown(number)} {fault}")
    return number


def fault_of(quantity: str, value: object) -> str | None:
    """Return what is wrong with a value of a quantity, and the way out; None where nothing is."""
    known = RANGES[quantity]
    if isinstance(value, bool) or not isinstance(value, Integral if known.whole else Real):
        return f"is no {'whole ' if known.whole else ''}number; {known.way_out}"
    return None if value in known else f"is out of range ({known}); {known.way_out}"


def check_settings(settings: Any) -> None:
    """Check the fields of a frozen dataclass that are named as quantities, as `check` does, while it is made."""
    for one in fields(settings):
        value = getattr(settings, one.name)
        if one.name in RANGES and not (value is None and type(None) in get_args(one.type)):
            object.__setattr__(settings, one.name, check(one.name, value))


def _told(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
