"""Operators that a runtime left in floating point between quantised ones, in the graph that it made of a network."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_MOVING = frozenset({"Concat", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""Operators that compute nothing."""


def float_islands(graph: "onnx.GraphProto") -> Counter[str]:
    """Return how many operators of each kind stand between a DequantizeLinear and a QuantizeLinear."""
    users: dict[str, list[int]] = defaultdict(list)
    makers: dict[str, int] = {}
    for number, node in enumerate(graph.node):
        makers |= dict.fromkeys(node.output, number)
        for name in node.input:
            users[name].append(number)
    kinds = [node.op_type for node in graph.node]
    starts = [number for number, kind in enumerate(kinds) if kind == "DequantizeLinear"]
    ends = [number for number, kind in enumerate(kinds) if kind == "QuantizeLinear"]
    after = _reached(starts, lambda n: [user for name in graph.node[n].output for user in users[name]], set(ends))
    before = _reached(ends, lambda n: [makers[name] for name in graph.node[n].input if name in makers], set(starts))
    return Counter(kinds[number] for number in after & before if kinds[number] not in _MOVING)


def _reached(sources: Iterable[int], step: Callable[[int], list[int]], walls: set[int]) -> set[int]:
    """Return the nodes that are reached from `sources` without passing a wall; neither is among them."""
    pending, found = list(sources), set[int]()
    begun = set(pending)
    while pending:
        for number in step(pending.pop()):
            if number not in walls and number not in begun:
                begun.add(number)
                found.add(number)
                pending.append(number)
    return found
