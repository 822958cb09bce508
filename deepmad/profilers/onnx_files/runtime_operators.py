"""Operators of ONNX Runtime's own domain as those of ONNX that have the same shapes and do the same work."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_SAME_WORK = {
    "BiasGelu": ("Erf", (0,)),
    "FastGelu": ("Erf", (0,)),
    "FusedConv": ("Conv", (0, 1, 2)),
    "FusedGemm": ("Gemm", (0, 1, 2)),
    "FusedMatMul": ("MatMul", (0, 1)),
    "Gelu": ("Erf", (0,)),
    "QGemm": ("Gemm", (0, 3)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearLeakyRelu": ("Identity", (0,)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearSigmoid": ("Identity", (0,)),
    "QuickGelu": ("Erf", (0,)),
}
"""The operator of ONNX, and which of the inputs it takes; GELU stands as the error function in it."""
_OWN_ATTRIBUTES = frozenset({"activation", "activation_params", "alpha", "channels_last"})
_SHAPING_ATTRIBUTES = frozenset({"channels_last", "transA", "transB", "transBatchA", "transBatchB"})


def as_onnx(node: "onnx.NodeProto") -> "list[onnx.NodeProto]":
    """Return the nodes of ONNX that do what a node of ONNX Runtime does; any other node by itself."""
    from onnx import helper

    if node.domain != "com.microsoft" or node.op_type not in _SAME_WORK:
        return [node]
    operation, places = _SAME_WORK[node.op_type]
    shaping = [item for item in node.attribute if item.name in _SHAPING_ATTRIBUTES and item.i]
    if shaping and operation != "Gemm":
        return [node]
    plain = helper.make_node(operation, [node.input[place] for place in places if place < len(node.input)], node.output)
    plain.name = node.name
    if operation not in ("Erf", "Identity", "MatMul"):
        plain.attribute.extend(item for item in node.attribute if item.name not in _OWN_ATTRIBUTES)
    if node.op_type == "FusedConv" and len(node.input) > 3 and node.input[3]:
        plain.output[0] = f"{node.output[0]}/conv"
        return [plain, helper.make_node("Add", [plain.output[0], node.input[3]], node.output)]
    return [plain]
