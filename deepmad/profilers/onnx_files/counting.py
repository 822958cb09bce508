"""The work of an ONNX graph: multiply-accumulates and activations of its convolutions and matrix products.

What cannot be counted is named, so that a count is never taken for more than it is.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepmad.profilers.onnx_files.equations import einsum_macs
from deepmad.profilers.onnx_files.flattening import Scope
from deepmad.profilers.onnx_files.inference import Shape
from deepmad.profilers.onnx_files.reading import attribute
from deepmad.profilers.onnx_files.shapes import Shapes

if TYPE_CHECKING:
    import onnx

Work = tuple[int, int]
"""Multiply-accumulates and activations."""
_NO_WORK: Work = (0, 0)
_UNCOUNTED = frozenset({"Loop", "Scan"})
"""Operators with a network inside that could not be taken apart."""


@dataclass(frozen=True)
class Counts:
    """The work for one image; `uncounted` names what it leaves out, `assumed` what it takes for granted."""

    macs: int
    activations: int
    uncounted: tuple[str, ...]
    assumed: tuple[str, ...]


def count(shapes: Shapes) -> Counts:
    """Return the work of a graph for one image.

    The body of a loop counts once a round. Of an If the branch of more multiply-accumulates counts, which is told.
    """
    tally = _Tally(shapes)
    for node in shapes.nodes:
        tally.add(node)
    macs, activations = tally.total()
    told = (tuple(f"{n} {what}" for what, n in sorted(found.items())) for found in (tally.uncounted, tally.assumed))
    return Counts(macs // shapes.batch, activations // shapes.batch, *told)


class _Tally:
    """The work found so far, by the branches and loops that it is in."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self.work: dict[tuple[Scope, ...], Work] = {}
        self.uncounted: Counter[str] = Counter()
        self.assumed: Counter[str] = Counter()

    def add(self, node: "onnx.NodeProto") -> None:
        """Count one node, or name it."""
        shapes, operation = self.shapes, node.op_type
        path = shapes.scopes.get(node.output[0], ())
        for depth in range(len(path)):
            self.work.setdefault(path[: depth + 1], _NO_WORK)
        if node.domain not in ("", "ai.onnx") or operation in _UNCOUNTED:
            if any(name not in shapes.constant for name in node.output):
                self.uncounted[operation] += 1
        elif operation in _PRODUCTS and not all(name in shapes.constant for name in node.output):
            work = _PRODUCTS[operation](shapes, node)
            if work is None:
                self.uncounted[operation] += 1
            else:
                self._grow(path, work)

    def _grow(self, path: tuple[Scope, ...], work: Work) -> None:
        macs, activations = self.work.get(path, _NO_WORK)
        self.work[path] = (macs + work[0], activations + work[1])

    def total(self) -> Work:
        """Return the work of the whole graph: the innermost branches and loops are folded into those around them."""
        for depth in range(max(map(len, self.work), default=0), 0, -1):
            inner = {path: work for path, work in self.work.items() if len(path) == depth}
            branches: dict[tuple[tuple[Scope, ...], str], list[Work]] = {}
            for path, work in inner.items():
                del self.work[path]
                scope = path[-1]
                if scope.operation == "If":
                    branches.setdefault((path[:-1], scope.name), []).append(work)
                elif all(self.shapes[entry] == self.shapes[end] for entry, end in scope.carried):
                    self._grow(path[:-1], (work[0] * scope.rounds, work[1] * scope.rounds))
                elif work[0]:
                    self.uncounted["Loop whose rounds differ"] += 1
            for (outer, _), found in branches.items():
                self._grow(outer, max(found))
                if max(found) != (min(found) if len(found) > 1 else _NO_WORK):
                    self.assumed["If by its larger branch"] += 1
        return self.work.get((), _NO_WORK)


def _written(shape: Shape | None, fan_in: int | None) -> Work | None:
    """Return the work of writing a result of which each element is a sum of `fan_in` products."""
    return None if shape is None or fan_in is None else (math.prod(shape) * fan_in, math.prod(shape))


def _convolution(weight_place: int) -> "Callable[[Shapes, onnx.NodeProto], Work | None]":
    def work(shapes: Shapes, node: "onnx.NodeProto") -> Work | None:
        weight = shapes[node.input[weight_place]]
        return _written(shapes[node.output[0]], math.prod(weight[1:]) if weight else None)

    return work


def _transposed(shapes: Shapes, node: "onnx.NodeProto") -> Work | None:
    """Return the work of spreading every element of the source over the kernels of its group."""
    source, weight, result = shapes[node.input[0]], shapes[node.input[1]], shapes[node.output[0]]
    if source is None or weight is None or result is None:
        return None
    return math.prod(source) * math.prod(weight[1:]), math.prod(result)


def _product(shapes: Shapes, node: "onnx.NodeProto") -> Work | None:
    """Return the work of a matrix product: the left operand tells how many products are summed."""
    left = shapes[node.input[0]]
    fan_in = None if not left else left[0] if attribute(node, "transA", 0) else left[-1]
    return _written(shapes[node.output[0]], fan_in)


def _einsum(shapes: Shapes, node: "onnx.NodeProto") -> Work | None:
    result, sources = shapes[node.output[0]], [shapes[name] for name in node.input]
    known = [source for source in sources if source is not None]
    if result is None or len(known) < len(sources):
        return None
    macs = einsum_macs(attribute(node, "equation", ""), known)
    return None if macs is None else (macs, math.prod(result) if macs else 0)


def _recurrent(shapes: Shapes, node: "onnx.NodeProto") -> Work | None:
    """Return the work of a recurrent layer: each step and the state before it meet the weights of all gates."""
    source, weight, recurrence = (shapes[name] for name in node.input[:3])
    if source is None or weight is None or recurrence is None:
        return None
    steps, directions, hidden = math.prod(source[:2]), weight[0], recurrence[2]
    return steps * (math.prod(weight) + math.prod(recurrence)), steps * directions * hidden


def _attention(shapes: Shapes, node: "onnx.NodeProto") -> Work | None:
    """Return the work of attention: every query meets every key, and what comes of it every value."""
    query, key, value = (shapes[name] for name in node.input[:3])
    if query is None or key is None or value is None or any(node.input[4:6]):
        return None
    if len(query) == 4:
        heads, width, value_width = query[1], query[3], value[3]
    else:
        heads, kept = attribute(node, "q_num_heads", 0), attribute(node, "kv_num_heads", 0)
        if not heads or not kept:
            return None
        width, value_width = query[2] // heads, value[2] // kept
    queries, keys = query[-2], key[-2]
    written = query[0] * heads * queries * (keys + value_width)
    return query[0] * heads * queries * keys * (width + value_width), written


_PRODUCTS: "dict[str, Callable[[Shapes, onnx.NodeProto], Work | None]]" = {
    "Attention": _attention,
    "Conv": _convolution(1),
    "ConvInteger": _convolution(1),
    "ConvTranspose": _transposed,
    "DeformConv": _convolution(1),
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _product,
    "LSTM": _recurrent,
    "MatMul": _product,
    "MatMulInteger": _product,
    "QLinearConv": _convolution(3),
    "QLinearMatMul": _product,
    "RNN": _recurrent,
}
"""What counts, and how."""
