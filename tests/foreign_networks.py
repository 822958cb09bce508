"""ONNX files as other people write them: one small network, C, with something unusual in its middle."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CHANNELS, CLASSES = 32, 16, 10
CONVOLUTION = CHANNELS * 3 * 3 * 3 * SIDE**2
"""Multiply-accumulates of a 3x3 convolution 3 -> 16 with padding on 32x32 pixels."""
CLASSIFIER = CHANNELS * CLASSES
C = CONVOLUTION + CLASSIFIER
C_ACTIVATIONS = CHANNELS * SIDE**2 + CLASSES
C_PARAMS = CHANNELS * 3 * 3 * 3 + CHANNELS * CLASSES + CLASSES
DOMAINS = ("com.microsoft", "com.acme")


def weight(*shape: int, seed: int = 0) -> np.ndarray:
    """Return random numbers of a shape, float32."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32) * np.float32(0.1)


def conv(source: str, weights: str, target: str, **attributes: Any) -> onnx.NodeProto:
    """Return a Conv with padding for a 3x3 kernel, unless said otherwise."""
    return helper.make_node("Conv", [source, weights], [target], **({"pads": [1] * 4} | attributes))


def network(
    middle: Sequence[onnx.NodeProto] = (),
    weights: Mapping[str, np.ndarray] | None = None,
    *,
    shape: Sequence[int | str] = (1, 3, SIDE, SIDE),
    channels: int = CHANNELS,
    opset: int = 17,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """Return C: a convolution from `images` to `features`, `middle` from there to `mixed`, pool, classifier of 10.

    `channels` is what `mixed` has. Without a middle `features` go into the pool.
    """
    nodes = [
        conv("images", "first", "features"),
        *middle,
        helper.make_node("GlobalAveragePool", ["mixed" if middle else "features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "last", "bias"], ["output"]),
    ]
    held = {"first": weight(CHANNELS, 3, 3, 3), "last": weight(channels, CLASSES), "bias": weight(CLASSES)}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [shape[0], CLASSES])],
        [numpy_helper.from_array(values, name) for name, values in (held | dict(weights or {})).items()],
    )
    domains = [helper.make_opsetid(name, 1) for name in (*DOMAINS, *(one.domain for one in functions))]
    opsets = [helper.make_opsetid("", opset), *domains]
    return helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)


def constant(name: str, values: np.ndarray) -> onnx.NodeProto:
    """Return a Constant node."""
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(values, name))


def value(name: str, shape: Sequence[int | str] | None = None, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """Return what a graph says of a tensor."""
    return helper.make_tensor_value_info(name, kind, shape)


def loop(rounds: str, source: str, target: str, body: Sequence[onnx.NodeProto]) -> onnx.NodeProto:
    """Return a Loop of `rounds` whose body makes `after` of `before`."""
    steady = helper.make_node("Identity", ["goes_on"], ["still"])
    inputs = [value("round", [], TensorProto.INT64), value("goes_on", [], TensorProto.BOOL), value("before")]
    inside = helper.make_graph([*body, steady], "body", inputs, [value("still", [], TensorProto.BOOL), value("after")])
    return helper.make_node("Loop", [rounds, "", source], [target], body=inside)


def branches(condition: str, target: str, *graphs: Sequence[onnx.NodeProto]) -> onnx.NodeProto:
    """Return an If whose branches each make `end`."""
    then, other = (helper.make_graph(nodes, "branch", [], [value("end")]) for nodes in graphs)
    return helper.make_node("If", [condition], [target], then_branch=then, else_branch=other)
