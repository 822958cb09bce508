#!/bin/sh
# One would expect: OpenVINO computes an ONNX max pool with ceil_mode as ONNX Runtime and PyTorch do, which leave out a
# last window that would start in the padding at the end (the operator's text says so from operator set 22 on).
# What happens: OpenVINO keeps that window, at every operator set. A pool of 3, stride 3, padding 1 on 14 x 14 pixels
# gives 6 x 6 instead of 5 x 5, and the extra row and column, whose windows hold padding alone, are the lowest float,
# -3.4e38. A convolution behind it makes infinities of that, and a latency is that of another network. Its average pool
# gives 5 x 5.
# Versions: openvino 2026.4.1, onnxruntime 1.32.0, onnx 1.23.2. Seen on 2026-11-29.
# This script fails when that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openvino==2026.4.1 onnx==1.23.2 onnxruntime==1.32.0 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import numpy
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper


def pool(operation, opset):
    node = helper.make_node(
        operation, ["x"], ["y"], kernel_shape=[3, 3], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1
    )
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 14, 14])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])
    graph = helper.make_graph([node], "pool", [source], [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


images = numpy.random.default_rng(0).standard_normal((1, 1, 14, 14), dtype=numpy.float32)
core = openvino.Core()
for operation, side in (("MaxPool", 6), ("AveragePool", 5)):
    for opset in (11, 17, 22):
        model = pool(operation, opset)
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        expected = session.run(None, {"x": images})[0]
        compiled = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled([images])[0]
        print(f"{operation}, operator set {opset}: ONNX Runtime {expected.shape}, OpenVINO {found.shape}", end=", ")
        print(f"least value {found.min():.3g}")
        assert expected.shape == (1, 1, 5, 5) and found.shape == (1, 1, side, side), "this has changed"
        assert numpy.allclose(found[..., :5, :5], expected, atol=1e-5), "this has changed"
        if side == 6:
            assert (found[..., 5, :] == numpy.finfo(numpy.float32).min).all(), "this has changed"
            assert (found[..., :, 5] == numpy.finfo(numpy.float32).min).all(), "this has changed"
PYTHON
