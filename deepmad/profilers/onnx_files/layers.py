"""Layer records read off an ONNX graph, so that a latency table can price a network that is no architecture file.

Where a network has no exact record the nearest one stands for it: a grouped convolution as one dense convolution a
group, a maximum pool as an average pool, a matrix product over the pixels of a square map as a 1x1 convolution. A
record's side is its output's side times the stride, so that its multiply-accumulates are the network's own.
"""

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from deepmad.profilers.onnx_files.counting import count
from deepmad.profilers.onnx_files.reading import attribute, read_model
from deepmad.profilers.onnx_files.shapes import Shapes
from deepmad.profilers.onnx_files.trained import trained_parameters
from deepmad.profilers.prediction.network_layers import NetworkLayers
from deepmad.search_spaces.layers import Layer, Role

if TYPE_CHECKING:
    import onnx

_WITHIN_LAYERS = frozenset({
    "Add", "BatchNormalization", "Cast", "Clip", "Constant", "DequantizeLinear", "Dropout", "Flatten", "HardSigmoid",
    "HardSwish", "Identity", "LeakyRelu", "Mul", "PRelu", "QuantizeLinear", "Relu", "Reshape", "Sigmoid", "Squeeze",
    "Swish", "Unsqueeze",
})  # fmt: skip
"""Operators that back ends run within the layer before them, or that move nothing."""
_DECISIVE = frozenset({"Attention", "ConvTranspose", "Einsum", "GRU", "If", "LSTM", "Loop", "RNN", "Scan"})
"""Operators that a sum over the other layers says nothing about."""
_INTEGER = frozenset({"ConvInteger", "MatMulInteger", "QLinearConv", "QLinearMatMul"})
"""Convolutions and products of whole numbers, whose results are of the types that shapes have."""
_GLOBAL_POOLS = frozenset({"GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"})


def read_onnx_layers(path: Path, side: int) -> NetworkLayers:
    """Return what the network in an ONNX file is made of, for one image whose open sides are `side` pixels.

    Parameters are the trained weights that the network uses: normalisation folded into a convolution counts as its
    bias. Raises `InputError` where the file cannot be read.
    """
    return onnx_layers(read_model(path, weights=False), side)


def onnx_layers(model: "onnx.ModelProto", side: int) -> NetworkLayers:
    """Return what the network in an ONNX model is made of; see `read_onnx_layers`."""
    shapes = Shapes.of(model, side)
    reader = _Reader(shapes)
    for node in shapes.nodes:
        reader.read(node)
    return reader.found()


class _Reader:
    """The records and counts found so far; nodes are read in the order they run."""

    def __init__(self, shapes: Shapes) -> None:
        self.shapes = shapes
        self.layers: list[Layer] = []
        self.left_out: Counter[str] = Counter()
        self.approximated: Counter[str] = Counter()
        self.withheld: str | None = None
        self.gated: set[str] = set()
        self.classifying: set[str] = set()
        self.adding = _adding(shapes)

    def found(self) -> NetworkLayers:
        """Return everything that was read."""
        left_out, approximated = (
            tuple(f"{count} {what}" for what, count in sorted(counted.items()))
            for counted in (self.left_out, self.approximated)
        )
        work = count(self.shapes)
        return NetworkLayers(
            tuple(self.layers), work.macs, trained_parameters(self.shapes), work.activations, left_out, approximated,
            self.withheld, work.uncounted, (*work.assumed, *filter(None, [self.shapes.contradiction])),
        )  # fmt: skip

    def read(self, node: "onnx.NodeProto") -> None:
        """Add the records of one node, or what they leave out."""
        operation = node.op_type
        if scopes := self.shapes.scopes.get(node.output[0]):
            self._withhold(f"{scopes[0].operation} has no layer record")
            return
        if operation in _INTEGER:
            self._withhold(f"{operation} has no layer record")
            return
        if not self.shapes.computes(node):
            return
        if operation == "Conv":
            self._convolution(node)
        elif operation in ("Gemm", "MatMul"):
            self._product(node)
        elif operation in ("AveragePool", "MaxPool"):
            self._pool(node)
        elif operation in _GLOBAL_POOLS and self._pools_all(node):
            self._global_pool(node)
        elif operation in _DECISIVE or node.domain not in ("", "ai.onnx"):
            self._withhold(f"{operation} has no layer record")
        elif operation not in _WITHIN_LAYERS:
            self.left_out[operation] += 1

    def _withhold(self, reason: str) -> None:
        self.withheld = self.withheld or reason

    def _convolution(self, node: "onnx.NodeProto") -> None:
        weight, result = self.shapes[node.input[1]], self.shapes[node.output[0]]
        if weight is None or result is None:
            self._withhold(f"the shape of {node.name or 'a Conv'} is not known")
            return
        outputs, inputs, *kernel = weight
        strides = attribute(node, "strides", [1] * len(kernel))
        if len(kernel) != 2 or len({*kernel}) > 1 or len({*strides}) > 1 or result[2] != result[3]:
            what = f"a {'x'.join(map(str, kernel))} convolution to {'x'.join(map(str, result[2:]))} pixels"
            self._withhold(f"{what} has no layer record, which is square")
            return
        if any(step != 1 for step in attribute(node, "dilations", [1])):
            self.approximated["dilated Conv as one without"] += 1
        groups = attribute(node, "group", 1)
        self._convolution_records(node, inputs, outputs, result[2], kernel[0], strides[0], groups)

    def _convolution_records(
        self, node: "onnx.NodeProto", inputs: int, outputs: int, out_side: int, kernel: int, stride: int, groups: int
    ) -> None:
        """Add the records of a convolution of `groups` times `inputs` channels."""
        name = node.output[0]
        bias, norm = len(node.input) > 2, self.shapes.normalised(name)
        if out_side == 1 and kernel == 1 and groups == 1 and name in self.gated | self.classifying:
            self._head(name, inputs, outputs)
            return
        adds = name in self.adding
        depthwise = groups > 1 and inputs == 1
        if groups > 1 and not depthwise:
            self.approximated[f"Conv of {groups} groups as so many dense ones"] += 1
            outputs //= groups
        record = Layer(
            "main", "conv", groups if depthwise else inputs, outputs, out_side * stride, kernel, stride, depthwise,
            norm, bias, adds=adds,
        )  # fmt: skip
        self.layers += [record] * (1 if depthwise else groups)

    def _head(self, name: str, inputs: int, outputs: int) -> None:
        """Add a layer that works on one pixel, in a gate or in the classifier."""
        if name in self.gated:
            self.layers.append(Layer("gate", "conv", inputs, outputs, 1, norm=False, bias=True))
        else:
            self.layers.append(Layer("classifier", "linear", inputs, outputs, 1, norm=False, bias=True))

    def _product(self, node: "onnx.NodeProto") -> None:
        """Add a matrix product with weights: a classifier, a gate's layer, or a 1x1 convolution."""
        left, right, result = (self.shapes[name] for name in (*node.input[:2], node.output[0]))
        if left is None or right is None or result is None:
            self._withhold(f"the shape of {node.name or node.op_type} is not known")
            return
        inputs = left[0] if attribute(node, "transA", 0) else left[-1]
        if node.input[1] not in self.shapes.constant:
            self._withhold("a MatMul of activations, as in attention, has no layer record")
            return
        outputs = result[-1]
        pixels = math.prod(result) // (self.shapes.batch * outputs)
        out_side = math.isqrt(pixels)
        if pixels == 1:
            self._head(node.output[0], inputs, outputs)
        elif out_side**2 == pixels:
            self.approximated["MatMul over a map as a 1x1 Conv"] += 1
            self.layers.append(Layer("main", "conv", inputs, outputs, out_side, norm=False, bias=True))
        else:
            self._withhold(f"a {node.op_type} over {pixels} rows an image has no layer record")

    def _pool(self, node: "onnx.NodeProto") -> None:
        result = self.shapes[node.output[0]]
        kernel = attribute(node, "kernel_shape", [])
        if self._pools_all(node) and self._covers_all(node, kernel):
            self._global_pool(node)
            return
        strides = attribute(node, "strides", [1] * len(kernel))
        square = result is not None and len(result) == 4 and result[2] == result[3]
        if result is None or not square or len({*kernel}) > 1 or len({*strides}) > 1:
            self.left_out[node.op_type] += 1
            return
        if node.op_type == "MaxPool":
            self.approximated["MaxPool as an average pool"] += 1
        shape = (result[1], result[1], result[2] * strides[0], kernel[0], strides[0])
        self.layers.append(Layer("shortcut", "average_pool", *shape, norm=False))

    def _covers_all(self, node: "onnx.NodeProto", kernel: list[int]) -> bool:
        """Return whether a window holds all pixels of the map it moves over."""
        source = self.shapes[node.input[0]]
        return source is not None and all(size >= side for size, side in zip(kernel, source[2:], strict=True))

    def _pools_all(self, node: "onnx.NodeProto") -> bool:
        """Return whether a reduction takes every square map to one value."""
        source, result = self.shapes[node.input[0]], self.shapes[node.output[0]]
        if source is None or result is None or len(source) != 4 or source[2] != source[3]:
            return False
        return math.prod(result) == source[0] * source[1] and result[:2] == source[:2]

    def _global_pool(self, node: "onnx.NodeProto") -> None:
        """Add a global pool, and note whether the layers after it are a gate's or the classifier's."""
        source = self.shapes[node.input[0]]
        assert source is not None, "_pools_all has seen it"
        after, gates = self.shapes.after_pool(node)
        (self.gated if gates else self.classifying).update(after)
        role: Role = "gate" if gates else "classifier"
        self.layers.append(Layer(role, "global_pool", source[1], source[1], source[2], norm=False))


def _adding(shapes: Shapes) -> set[str]:
    """Return the outputs of the convolutions that a shortcut is added to: of two, the first operand of the sum."""
    found = set()
    for node in shapes.nodes:
        if node.op_type == "Add" and not any(name in shapes.constant for name in node.input):
            operands = (shapes.convolution_before(name) for name in node.input)
            found |= {next((name for name in operands if name is not None), "")}
    return found - {""}
