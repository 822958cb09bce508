"""The ONNX graph of a network, written from the layer records that its torch module was built from.

Nodes and weights have the name of their layer (`layer_names`), followed by what they are where it is not the layer's
own operation: `stages.0.2.conv1`, `stages.0.2.conv1.relu`, `stages.0.2.conv1.weight`.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from deepmad.profilers.onnx_files.layer_names import layer_names, named_bodies
from deepmad.search_spaces.layers import Body, Layer
from deepmad.search_spaces.torch_builder import Network

OPSET = 17
IR_VERSION = 8  # the one that came with opset 17: older runtimes read it too


def network_model(network: Network, batch: int | None) -> onnx.ModelProto:
    """Return the ONNX model of a network without taps; its batch is left open where `batch` is None.

    Normalisation is folded into the convolutions, as in evaluation mode.
    """
    architecture = network.architecture
    modules = _weighted_modules(network)
    graph = _Graph()
    value = "images"
    for name, body in named_bodies(architecture):
        value = _body(graph, value, name, body, modules)
    assert next(modules, None) is None, "every weight of the module has its record"
    size = batch if batch is not None else "batch"
    shape = [size, architecture.in_channels, architecture.resolution, architecture.resolution]
    last = architecture.parts()[-1].body.layers[-1]
    result = [size, last.outputs]
    if not architecture.classes:
        last = architecture.parts()[-1].body.main[-1]
        result = [size, last.outputs, last.out_side, last.out_side]
    graph.nodes[-1].output[0] = "output"
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            architecture.name or "network",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, result)],
            graph.weights,
        ),
        producer_name="deepmad",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


class _Graph:
    """Nodes and weights in the order they were added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def node(self, operation: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node and return the name of its output, which is its own."""
        self.nodes.append(helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name: str, values: np.ndarray) -> str:
        """Add a constant and return its name."""
        raw = np.ascontiguousarray(values, dtype=np.float32).tobytes()
        self.weights.append(helper.make_tensor(name, TensorProto.FLOAT, values.shape, raw, raw=True))
        return name


def _body(graph: _Graph, entry: str, block: str, body: Body, modules: Iterator[nn.Module]) -> str:
    """Add one body: main path and gates, then the shortcut, their sum, and the last activation."""
    value, gated = entry, ""
    named = [(f"{block}.{name}", layer) for name, layer in zip(layer_names(body), body.layers, strict=True)]
    last = body.main[-1] if body.main else None
    path = [(name, layer) for name, layer in named if layer.role != "shortcut"]
    for index, (name, layer) in enumerate(path):
        if layer.role == "gate":
            gated = gated or value
        value = _layer(graph, value, name, layer, modules, activate=layer is not last)
        if gated and (index + 1 == len(path) or path[index + 1][1].role != "gate"):
            value, gated = graph.node("Mul", f"{name}.product", [gated, value]), ""
    end = next((name for name, layer in named if layer is last), block)
    if body.residual:
        shortcut = entry
        for name, layer in named:
            if layer.role == "shortcut":
                shortcut = _layer(graph, shortcut, name, layer, modules, activate=True)
        value = graph.node("Add", f"{end}.add", [value, shortcut])
    return _activation(graph, value, end, last) if last else value


def _layer(graph: _Graph, value: str, name: str, layer: Layer, modules: Iterator[nn.Module], *, activate: bool) -> str:
    """Add one layer, its activation included where `activate`."""
    if layer.operation == "average_pool":
        square = [layer.kernel, layer.kernel]
        return graph.node("AveragePool", name, [value], kernel_shape=square, strides=[layer.stride, layer.stride])
    if layer.operation == "global_pool":
        return graph.node("GlobalAveragePool", name, [value])
    weight, bias = _weights(layer, modules)
    weights = [graph.weight(f"{name}.weight", weight)]
    if bias is not None:
        weights.append(graph.weight(f"{name}.bias", bias))
    if layer.operation == "linear":
        value = graph.node(
            "Gemm", name, [graph.node("Flatten", f"{name}.flatten", [value], axis=1), *weights], transB=1
        )
    else:
        value = graph.node(
            "Conv",
            name,
            [value, *weights],
            kernel_shape=[layer.kernel, layer.kernel],
            strides=[layer.stride, layer.stride],
            pads=[layer.kernel // 2] * 4,
            group=layer.inputs if layer.depthwise else 1,
        )
    return _activation(graph, value, name, layer) if activate else value


def _activation(graph: _Graph, value: str, name: str, layer: Layer) -> str:
    """Add the activation of `layer`, if it has one."""
    if layer.activation == "silu":
        return graph.node("Mul", f"{name}.mul", [value, graph.node("Sigmoid", f"{name}.sigmoid", [value])])
    names = {"relu": "Relu", "sigmoid": "Sigmoid"}
    if layer.activation:
        value = graph.node(names[layer.activation], f"{name}.{layer.activation}", [value])
    return value


def _weighted_modules(network: Network) -> Iterator[nn.Module]:
    """Yield convolutions, normalisations and linear maps in the order of the layer records.

    The torch builder registers a block's modules in that order: main path and gates, then the shortcut.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            yield module


def _weights(layer: Layer, modules: Iterator[nn.Module]) -> tuple[np.ndarray, np.ndarray | None]:
    """Return weight and bias of the next layer, its normalisation folded in."""
    module = next(modules)
    assert isinstance(module, nn.Conv2d | nn.Linear)
    weight = module.weight.detach().double().cpu().numpy()
    bias = module.bias.detach().double().cpu().numpy() if module.bias is not None else None
    if not layer.norm:
        return weight, bias
    norm = next(modules)
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale, shift, mean, variance = (
        tensor.detach().double().cpu().numpy()
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    factor = scale / np.sqrt(variance + norm.eps)
    return weight * factor[:, None, None, None], shift + ((bias if bias is not None else 0.0) - mean) * factor
