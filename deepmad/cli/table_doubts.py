"""What is to be said of a latency table before and after a prediction is read from it, a sentence each."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    from deepmad.profilers.prediction.coverage import Within
    from deepmad.profilers.tables.tables import LatencyTable
    from deepmad.search_spaces.architectures import Architecture
    from deepmad.search_spaces.spaces import Space

FORCE = "--force takes it all the same"
DRAWN = 4
"""Networks of a space by which it is judged whether a table can serve it at all."""


def doubts_of(
    path: Path, table: "LatencyTable", space: "Space | None" = None, argument: str = "SPACE"
) -> Iterator[str]:
    """Yield what is doubtful about a table: its verdict where it is poor, and the space and side it was made for.

    `argument` is the space as the user named it, for the command that builds a table for it.
    """
    from deepmad.profilers.tables.table_files import ANY_SPACE
    from deepmad.profilers.tables.tables import describe_table
    from deepmad.profilers.tables.verdicts import verdict_sentence

    described = describe_table(path, table.key)
    if described["verdict"] == "poor":
        yield f"{path}: the table is {verdict_sentence(described)}"
    if space is None:
        return
    if table.space not in (ANY_SPACE, space.name):
        command = build_command(table, space, argument)
        yield f"{path}: the table was made for space {table.space}, not {space.name}; build one: {command}"
    if table.resolution not in (None, space.resolution):
        command = build_command(table, space, argument)
        yield f"{path}: the table was made for {table.resolution} pixels, not {space.resolution}; build one: {command}"


def build_command(table: "LatencyTable", space: "Space", argument: str) -> str:
    """Return the command that builds a table for a space, named `argument`, under the conditions of another table."""
    return f"deepmad table build {argument} {table.key.options()} --resolution {space.resolution}"


def elsewhere(table: "LatencyTable", device: str, version: str) -> Iterator[str]:
    """Yield that a table was made on another device, or by another version of the back end, than is measured."""
    from deepmad.profilers.tables.table_files import UNKNOWN

    if table.device != device:
        yield f"the table is of {table.device}, and this is {device}"
    elif UNKNOWN not in (table.version, version) and table.version != version:
        yield f"the table was made by {table.backend} {table.version}, and this is {version}; build one anew"


def doubts_here(table: "LatencyTable", *, measuring: bool) -> Iterator[str]:
    """Yield what `elsewhere` says of this machine; another device only where networks are measured here."""
    from deepmad.profilers.backends import find_backend
    from deepmad.profilers.errors import DeviceError

    with suppress(InputError, DeviceError):  # what is not installed here is no doubt about the table
        library = find_backend(table.backend, table.precision)
        device, version = library.device(), library.version()
        if measuring or table.device == device:
            yield from elsewhere(table, device, version)


def check_space(path: Path, table: "LatencyTable", space: "Space", argument: str) -> None:
    """Raise `InputError` where most layers of a few networks of a space lie outside of what the table's rows span."""
    import numpy as np

    from deepmad.profilers.building.probes import random_network
    from deepmad.profilers.prediction.coverage import REFUSED

    rng = np.random.default_rng(0)
    found: list[Within] = []
    with suppress(InputError):  # a space that is hard to draw from is judged by the network found
        for _ in range(DRAWN):
            within = within_table(table, random_network(space, rng))
            found += [] if within is None else [within]
    worst = min(found, key=lambda within: within.share, default=None)
    if worst is not None and max(within.share for within in found) < REFUSED:
        raise InputError(
            f"{path}: cannot serve space {space.name}: of one of its networks {worst.sentence}; "
            f"build one: {build_command(table, space, argument)} ({FORCE})"
        )


def within_table(table: "LatencyTable", network: "Architecture") -> "Within | None":
    """Return how many of a network's layers lie within what a table's rows span; None where nobody knows."""
    from deepmad.profilers.prediction.network_layers import NetworkLayers

    return table.within(NetworkLayers.of(network).layers)


def least_within(tables: "Sequence[LatencyTable]", network: "Architecture") -> "Within | None":
    """Return the least of `within_table` over several tables."""
    found = [within for table in tables if (within := within_table(table, network)) is not None]
    return min(found, key=lambda within: within.share, default=None)
