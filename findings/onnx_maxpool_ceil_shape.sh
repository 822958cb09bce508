#!/bin/sh
# One would expect: the shape that ONNX infers for a max pool with ceil_mode is the shape that comes out when it runs.
# What happens: below operator set 22, onnx.shape_inference counts a last window that would start in the padding at the
# end. ONNX Runtime leaves such a window out at every operator set, as PyTorch does. A pool of 3, stride 3, padding 1 on
# 14 x 14 pixels is inferred as 6 x 6 and computed as 5 x 5; whoever counts a network's work by inferred shapes counts
# 44 % too much behind it. An average pool is inferred alike. From operator set 22 on both say 5 x 5.
# Versions: onnx 1.23.2, onnxruntime 1.32.0. Seen on 2026-11-29.
# This script fails when that changes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.32.0 numpy
"$folder/venv/bin/python" - <<'PYTHON'
import numpy
import onnx
import onnxruntime
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
    return model


for operation in ("MaxPool", "AveragePool"):
    for opset in (11, 17, 21, 22, 23):
        model = pool(operation, opset)
        inferred = onnx.shape_inference.infer_shapes(model).graph.output[0].type.tensor_type.shape.dim[2].dim_value
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        computed = session.run(None, {"x": numpy.zeros((1, 1, 14, 14), numpy.float32)})[0].shape[2]
        print(f"{operation}, operator set {opset}: {inferred} inferred, {computed} computed")
        assert (inferred, computed) == (6 if opset < 22 else 5, 5), "this has changed"
PYTHON
