"""Recounting many networks at once: each gets the very figures that `Problem` tells of it alone.

They come from the layer records of the networks, whose numbers may be arrays, one entry a network, so that a thousand
networks are counted in the time of a few. Nothing here is shared with a solver: no genomes, and no tables of costs.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from deepmad.engine.program.budgets import Usage
from deepmad.engine.program.entropy import entropy, scales
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Architecture, network_parts
from deepmad.search_spaces.layers import Body, Part

FEW = 4
"""Networks of one frame from which on arrays are quicker than numbers."""


@dataclass(frozen=True)
class Recount:
    """What a network is worth, what it uses of each limit, and what it breaks, as `Problem` tells them."""

    value: float
    usages: dict[str, Usage]
    broken: list[str]


def recounted(problem: Problem, networks: Sequence[Architecture]) -> list[Recount]:
    """Return the recount of every network, in their order; counts have to fit into 64 bits.

    Raises `InputError` for a kind of layer that a latency table does not know.
    """
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, network in enumerate(networks):
        places[_frame(network)].append(place)
    found: dict[int, Recount] = {}
    for alike in places.values():
        members = [networks[place] for place in alike]
        few = len(members) < FEW
        found.update(
            zip(
                alike,
                map(partial(_recounted, problem), members) if few else _recounted_alike(problem, members),
                strict=True,
            )
        )
    return [found[place] for place in range(len(networks))]


def _recounted(problem: Problem, network: Architecture) -> Recount:
    """Return the recount of one network, its parts built once."""
    parts = network.parts()
    found = scales(parts)
    value = problem.value_at(network, entropy(found, problem.space.weights_for(len(found))))
    uses = ((limit, np.asarray(used).item()) for limit, used in problem.used(parts))
    usages = {limit.name: Usage(limit.value, used, limit.sense) for limit, used in uses}
    return Recount(value, usages, problem.broken_at(network, usages))


def _frame(network: Architecture) -> Hashable:
    """Return what no array can hold: networks in which it is equal can be counted together."""
    stages = tuple((stage.block, stage.stride) for stage in network.stages)
    stem = (network.stem.kernel, network.stem.stride)
    return network.in_channels, network.resolution, stem, stages, network.tail, network.classes


def _recounted_alike(problem: Problem, networks: Sequence[Architecture]) -> Iterator[Recount]:
    """Yield the recount of every one of some networks of one frame."""
    parts = _common_parts(networks)
    found = scales(parts)
    totals = np.broadcast_to(entropy(found, problem.space.weights_for(len(found))), len(networks))
    columns = [(limit, np.broadcast_to(used, len(networks)).tolist()) for limit, used in problem.used(parts)]
    for row, network in enumerate(networks):
        usages = {limit.name: Usage(limit.value, used[row], limit.sense) for limit, used in columns}
        # the penalty is counted network by network: the sums of whole arrays round otherwise in the last digit
        yield Recount(problem.value_at(network, totals[row]), usages, problem.broken_at(network, usages))


def _common_parts(networks: Sequence[Architecture]) -> tuple[Part, ...]:
    """Return the parts of networks of one frame, all numbers of their records arrays (networks,)."""
    first = networks[0]
    stem = replace(first.stem, out=_column([network.stem.out for network in networks]))
    stages = []
    for members in zip(*(network.stages for network in networks), strict=True):
        names = ("out", "width", "kernel", "depth")
        columns = {name: _column([getattr(stage, name) for stage in members]) for name in names}
        stages.append(replace(members[0], **columns))
    parts = network_parts(first.in_channels, first.resolution, stem, stages, first.tail, first.classes)
    return tuple(replace(part, body=_broadcast(part.body, len(networks))) for part in parts)


def _column(values: list[int]) -> Any:
    return np.array(values, dtype=np.int64)


def _broadcast(body: Body, count: int) -> Body:
    """Return the body with arrays (count,) for all numbers of its records: a record's numbers have one shape."""
    names = ("inputs", "outputs", "kernel")
    layers = []
    for layer in body.layers:
        numbers: dict[str, Any] = {name: np.broadcast_to(getattr(layer, name), count) for name in names}
        layers.append(replace(layer, **numbers))
    return replace(body, layers=tuple(layers))
