"""Which of an ONNX file's constants are trained parameters, by what they are used for."""

import math
from typing import TYPE_CHECKING

from deepmad.profilers.onnx_files.leaving import values_of
from deepmad.profilers.onnx_files.shapes import Shapes

if TYPE_CHECKING:
    import onnx

_NORMALISATIONS = frozenset({"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization",
                             "RMSNormalization", "SkipLayerNormalization"})  # fmt: skip
_ADJUSTMENTS = frozenset({"Clip", "Div", "Equal", "Greater", "GridSample", "Less", "Max", "Min", "Pad", "Pow", "Range",
                          "Resize", "Slice", "Where"})  # fmt: skip
"""Operators whose constants are settings: limits, scales, grids, masks."""
_PER_ELEMENT = frozenset({"Add", "Concat", "Mul", "Sub", "Sum"})
"""Operators whose constants are biases and embeddings, or grids of positions."""
_WHOLE = ("BOOL", "INT16", "INT32", "INT64", "STRING", "UINT16", "UINT32", "UINT64")


def trained_parameters(shapes: Shapes) -> int:
    """Return the number of trained parameters that a network uses, each once."""
    return sum(math.prod(tensor.dims) for name, tensor in shapes.tensors.items() if _trained(shapes, name, tensor))


def _trained(shapes: Shapes, name: str, tensor: "onnx.TensorProto") -> bool:
    """Return whether a constant is trained: used as a weight, no setting, no running mean, no grid."""
    from onnx import TensorProto

    if not tensor.dims or TensorProto.DataType.Name(tensor.data_type) in _WHOLE:
        return False
    return any(_as_weight(node, place, tensor) for node, place in _uses(shapes, name))


def _uses(shapes: Shapes, name: str) -> "list[tuple[onnx.NodeProto, int]]":
    """Return the nodes that bring a constant together with the images, and its place among their inputs."""
    found, pending, seen = [], [name], {name}
    while pending:
        current = pending.pop()
        for node in shapes.users.get(current, ()):
            place = list(node.input).index(current)
            if node.op_type in ("DequantizeLinear", "QuantizeLinear") and place:
                continue  # a scale or a zero point
            if all(output in shapes.constant for output in node.output):
                if node.output[0] not in seen:
                    seen.add(node.output[0])
                    pending.append(node.output[0])
            else:
                found.append((node, place))
    return found


def _as_weight(node: "onnx.NodeProto", place: int, tensor: "onnx.TensorProto") -> bool:
    """Return whether a node uses a constant as a trained parameter."""
    if node.op_type in _ADJUSTMENTS or node.op_type.startswith("Reduce"):
        return False
    if node.op_type in _NORMALISATIONS:
        return 1 <= place < 3
    if node.op_type in ("QLinearConv", "QLinearMatMul"):
        return place in (3, 8)
    if node.op_type in ("ConvInteger", "MatMulInteger", "PRelu"):
        return place == 1
    if node.op_type in _PER_ELEMENT:
        return not _regular(tensor)
    return True


def _regular(tensor: "onnx.TensorProto") -> bool:
    """Return whether a tensor holds a single number, or values that repeat or are evenly spaced as a grid's are.

    Values that are all alike may be a parameter as it starts where they stand along one axis, as a bias does.
    """
    import numpy as np

    count = math.prod(tensor.dims)
    if count <= 1:
        return True
    held = values_of(tensor)
    if held is None:
        return False
    values = held.astype(np.float64)
    distinct = len(np.unique(values))
    if distinct == 1:
        return len([size for size in tensor.dims if size > 1]) > 1
    steps = np.diff(values.ravel())
    if count > 2 and np.allclose(steps, steps[0], rtol=1e-3, atol=0.0):
        return True
    return bool(distinct <= count // 2)
