"""Quantities: what is read, what is refused, what is printed."""

import pytest

from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.units import Kind, human, quantity


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("4.13G", "count", 4.13e9),
        ("25.55M", "count", 25.55e6),
        ("300k", "count", 3e5),
        (1000, "count", 1000),
        ("5ms", "seconds", 0.005),
        ("5", "seconds", 5),
        ("2000/s", "per second", 2000),
        ("64MB", "bytes", 64e6),
        ("64MiB", "bytes", 64 * 2**20),
        ("1e-3", "seconds", 1e-3),
        ("0.3", "number", 0.3),
    ],
)
def test_units_are_part_of_the_value(text: object, kind: Kind, value: float) -> None:
    assert quantity(text, kind, "x") == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("5 parsecs", "seconds"), ("-1", "count"), ("0", "count"), ("", "count"), ("1e400", "count"), ("nan", "count"),
     ("5ms", "count"), (True, "count"), (None, "count"), ("5G", "seconds")],
)  # fmt: skip
def test_nonsense_is_refused_by_name(text: object, kind: Kind) -> None:
    with pytest.raises(InputError, match=r"--x: .*"):
        quantity(text, kind, "--x")


def test_people_read_four_digits_and_a_unit() -> None:
    assert human(4.13e9, "count") == "4.13 G"
    assert human(0.0123456, "seconds") == "12.35 ms"
    assert human(999, "count") == "999"
    assert human(64e6, "bytes") == "64 MB"
