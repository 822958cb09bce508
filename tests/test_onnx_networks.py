"""What other people's ONNX files are said to be made of: their work, their parameters, their shapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from deepmad.profilers.onnx_files.equations import einsum_macs
from deepmad.profilers.onnx_files.layers import onnx_layers
from deepmad.profilers.prediction.network_layers import NetworkLayers
from tests.foreign_networks import (
    C_ACTIVATIONS,
    C_PARAMS,
    CHANNELS,
    CLASSIFIER,
    CONVOLUTION,
    SIDE,
    C,
    branches,
    constant,
    conv,
    loop,
    network,
    value,
    weight,
)

MAP = CHANNELS * SIDE**2
SQUARE = 9 * CHANNELS**2 * SIDE**2
"""Multiply-accumulates of a 3x3 convolution 16 -> 16 on the map."""
KERNEL = {"w": weight(CHANNELS, CHANNELS, 3, 3)}


def read(model: onnx.ModelProto, side: int = SIDE) -> NetworkLayers:
    """Return what is read off a model that ONNX's checker takes."""
    onnx.checker.check_model(model)
    return onnx_layers(model, side)


def runs(model: onnx.ModelProto, shape: Sequence[int] = (1, 3, SIDE, SIDE)) -> Any:
    """Return the outputs that ONNX Runtime makes of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(None, {"images": np.ones(shape, np.float32)})


def test_c_has_its_known_work() -> None:
    found = read(network())
    assert (found.macs, found.activations, found.params) == (C, C_ACTIVATIONS, C_PARAMS) == (442_528, 16_394, 602)
    assert found.counts_note is None


TRANSPOSED = helper.make_node("ConvTranspose", ["features", "w"], ["mixed"], strides=[2, 2])
EINSUM = helper.make_node("Einsum", ["features", "w"], ["mixed"], equation="nchw,cd->ndhw")
FUSED = helper.make_node(
    "FusedConv", ["features", "w"], ["mixed"], domain="com.microsoft", pads=[1] * 4, activation="Relu"
)
DEFORMED = [
    conv("features", "offsets", "moved"),
    helper.make_node("DeformConv", ["features", "w", "moved"], ["mixed"], kernel_shape=[3, 3], pads=[1] * 4),
]
RECURRENT = [
    helper.make_node("Reshape", ["features", "sequence"], ["steps"]),
    helper.make_node("LSTM", ["steps", "w", "r"], ["states"], hidden_size=4),
    helper.make_node("Reshape", ["states", "picture"], ["mixed"]),
]


@pytest.mark.parametrize(
    ("middle", "weights", "macs", "written"),
    [
        ([EINSUM], {"w": weight(CHANNELS, CHANNELS)}, MAP * CHANNELS, MAP),  # 704,672 in all
        ([TRANSPOSED], {"w": weight(CHANNELS, CHANNELS, 2, 2)}, MAP * CHANNELS * 2 * 2, MAP * 4),  # 1,491,104
        ([FUSED], KERNEL, SQUARE, MAP),  # 2,801,824
        (DEFORMED, {**KERNEL, "offsets": weight(18, CHANNELS, 3, 3)}, SQUARE + SQUARE * 18 // 16, MAP + 18 * SIDE**2),
        # 1,024 steps of one sequence, 4 gates of 4 units, 16 channels in and 4 back
        (
            RECURRENT,
            {
                "w": weight(1, 16, 16),
                "r": weight(1, 16, 4),
                "sequence": np.array([1024, 1, 16]),
                "picture": np.array([1, 16, 16, 16]),
            },
            1024 * (16 * 16 + 16 * 4),
            1024 * 4,
        ),
    ],
    ids=["Einsum", "ConvTranspose", "FusedConv", "DeformConv", "LSTM"],
)
def test_work_of_other_operators_counts(
    middle: list[onnx.NodeProto], weights: dict[str, np.ndarray], macs: int, written: int
) -> None:
    model = network(middle, weights, opset=19)
    found = onnx_layers(model, SIDE)
    assert found.macs == C + macs
    assert found.activations == C_ACTIVATIONS + written
    assert found.counts_note is None
    trained = sum(one.size for one in weights.values() if one.dtype == np.float32)
    assert found.params == C_PARAMS + trained


def test_the_figures_that_were_wrong_are_right() -> None:
    square = {"w": weight(CHANNELS, CHANNELS)}
    assert read(network([EINSUM], square)).macs == 704_672
    assert read(network([TRANSPOSED], {"w": weight(CHANNELS, CHANNELS, 2, 2)})).macs == 1_491_104
    assert onnx_layers(network([FUSED], KERNEL), SIDE).macs == 2_801_824


def test_a_local_function_counts_as_what_is_in_it() -> None:
    body = [
        helper.make_node("Conv", ["x", "k"], ["t"], pads=[1] * 4),
        helper.make_node("Relu", ["t"], ["y"]),
    ]
    function = helper.make_function("own", "Block", ["x", "k"], ["y"], body, [helper.make_opsetid("", 17)])
    calls = [
        helper.make_node("Block", ["features", "w"], ["once"], domain="own"),
        helper.make_node("Block", ["once", "w"], ["mixed"], domain="own"),
    ]
    model = network(calls, KERNEL, functions=[function])
    found = read(model)
    runs(model)
    assert (found.macs, found.params, found.counts_note) == (C + 2 * SQUARE, C_PARAMS + KERNEL["w"].size, None)
    assert found.withheld is None
    assert [layer.inputs for layer in found.layers if layer.kernel == 3] == [3, 16, 16]


def test_a_loop_counts_as_often_as_it_runs() -> None:
    inside = [conv("before", "w", "sum"), helper.make_node("Relu", ["sum"], ["after"])]
    model = network([loop("rounds", "features", "mixed", inside)], {**KERNEL, "rounds": np.array(5)})
    found = read(model)
    runs(model)
    assert (found.macs, found.activations) == (C + 5 * SQUARE, C_ACTIVATIONS + 5 * MAP)
    assert (found.params, found.counts_note) == (C_PARAMS + KERNEL["w"].size, None)
    assert found.withheld == "Loop has no layer record"


def test_a_loop_in_a_loop_counts_as_often_as_both() -> None:
    inner = loop("rounds", "before", "after", [conv("before", "w", "after")])
    for name in (*inner.attribute[0].g.input, *inner.attribute[0].g.output):
        name.name = f"inner {name.name}"
    for node in inner.attribute[0].g.node:
        node.input[:] = [name if name == "w" else f"inner {name}" for name in node.input]
        node.output[:] = [f"inner {name}" for name in node.output]
    model = network([loop("rounds", "features", "mixed", [inner])], {**KERNEL, "rounds": np.array(3)})
    runs(model)
    assert read(model).macs == C + 9 * SQUARE


def test_a_loop_of_unknown_length_is_told() -> None:
    body = [conv("before", "w", "after")]
    length = [
        helper.make_node("ReduceMax", ["features"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["rounds"], to=TensorProto.INT64),
    ]
    found = read(network([*length, loop("rounds", "features", "mixed", body)], KERNEL))
    assert found.macs == CONVOLUTION  # of what follows the shapes are not known either
    assert found.counts_note == "at least, without 1 Gemm, 1 Loop"


def test_a_loop_whose_rounds_differ_is_told() -> None:
    body = [helper.make_node("Concat", ["before", "before"], ["after"], axis=2), conv("before", "w", "unused")]
    found = onnx_layers(network([loop("rounds", "features", "mixed", body)], {**KERNEL, "rounds": np.array(2)}), SIDE)
    assert found.macs == C
    assert found.counts_note == "at least, without 1 Loop whose rounds differ"


@pytest.mark.parametrize("larger", [0, 1])
def test_of_two_branches_the_larger_one_counts(larger: int) -> None:
    graphs = [[helper.make_node("Relu", ["features"], ["end"])], [conv("features", "w", "end")]]
    question = [
        helper.make_node("ReduceMax", ["features"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["whether"], to=TensorProto.BOOL),
    ]
    ordered = graphs if larger else graphs[::-1]
    model = network([*question, branches("whether", "mixed", *ordered)], KERNEL)
    found = read(model)
    runs(model)
    assert (found.macs, found.activations) == (C + SQUARE, C_ACTIVATIONS + MAP)
    assert found.counts_note == "1 If by its larger branch"
    assert found.params == C_PARAMS + KERNEL["w"].size


def test_a_branch_that_a_constant_chooses_is_the_network() -> None:
    graphs = [[helper.make_node("Relu", ["features"], ["end"])], [conv("features", "w", "end")]]
    for whether, macs in ((True, C), (False, C + SQUARE)):
        found = read(network([constant("yes", np.array(whether)), branches("yes", "mixed", *graphs)], KERNEL))
        assert (found.macs, found.counts_note) == (macs, None)


def test_what_cannot_be_counted_is_told() -> None:
    magic = helper.make_node("Magic", ["features"], ["mixed"], domain="com.acme")
    found = read(network([magic]))
    assert found.macs == CONVOLUTION
    assert found.counts_note == "at least, without 1 Gemm, 1 Magic"
    stated = network([magic])
    stated.graph.value_info.append(value("mixed", [1, CHANNELS, SIDE, SIDE]))
    assert read(stated).counts_note == "at least, without 1 Magic"
    assert read(stated).macs == C


def test_quantised_operators_count_as_the_others() -> None:
    scale, zero = {"scale": np.array(0.1, np.float32)}, {"zero": np.array(0, np.int8)}
    whole = {"w": np.ones((CHANNELS, CHANNELS, 3, 3), np.int8)}
    inputs = ["small", "scale", "zero", "w", "scale", "zero", "scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["features", "scale", "zero"], ["small"]),
        helper.make_node("QLinearConv", inputs, ["sum"], pads=[1] * 4),
        helper.make_node(
            "QLinearAdd",
            ["sum", "scale", "zero", "small", "scale", "zero", "scale", "zero"],
            ["both"],
            domain="com.microsoft",
        ),
        helper.make_node("DequantizeLinear", ["both", "scale", "zero"], ["mixed"]),
    ]
    found = onnx_layers(network(nodes, {**scale, **zero, **whole}), SIDE)
    assert (found.macs, found.params) == (C + SQUARE, C_PARAMS + whole["w"].size)
    assert found.counts_note is None


@pytest.mark.parametrize(
    ("equation", "shapes", "macs"),
    [
        ("nchw,cd->ndhw", [(2, 3, 4, 5), (3, 6)], 2 * 3 * 4 * 5 * 6),
        ("ij,jk", [(2, 3), (3, 4)], 24),
        ("bhid, bhjd -> bhij", [(1, 2, 5, 4), (1, 2, 5, 4)], 2 * 5 * 5 * 4),
        ("...ij,...jk->...ik", [(7, 2, 3), (7, 3, 4)], 7 * 24),
        ("...c,cd->...d", [(1, 8, 8, 16), (16, 32)], 64 * 16 * 32),
        ("nchw,nc->nchw", [(1, 16, 8, 8), (1, 16)], 0),  # a scale, as a Mul
        ("nchw->nhwc", [(1, 16, 8, 8)], 0),
        ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)], 2 * 3 * 4 + 2 * 4 * 5),
        ("i,j->ij", [(3,), (4,)], 12),
        ("ij,jk", [(2, 3), (4, 5)], None),
        ("ij,jk", [(2, 3)], None),
    ],
)
def test_an_einsum_counts_by_its_equation(equation: str, shapes: list[tuple[int, ...]], macs: int | None) -> None:
    assert einsum_macs(equation, shapes) == macs


def test_attention_counts_queries_keys_and_values() -> None:
    nodes = [helper.make_node("Attention", ["features", "features", "features"], ["mixed"])]
    found = read(network(nodes, opset=23))
    assert found.macs == C + CHANNELS * SIDE * SIDE * (SIDE + SIDE)


def test_weights_in_constant_nodes_are_parameters() -> None:
    nodes = [constant("w", KERNEL["w"]), conv("features", "w", "mixed")]
    found = read(network(nodes))
    assert (found.macs, found.params) == (C + SQUARE, C_PARAMS + KERNEL["w"].size)
    assert found.withheld is None


def grid() -> np.ndarray:
    """Return the position of every pixel, x and y, as detectors add them."""
    across, down = np.meshgrid(np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32))
    return np.stack([across, down])[None].repeat(CHANNELS // 2, axis=1)


@pytest.mark.parametrize(
    ("node", "held", "trained"),
    [
        (helper.make_node("Relu", ["features"], ["mixed"]), weight(1000, 10), False),  # nothing uses it
        (helper.make_node("Add", ["features", "held"], ["mixed"]), grid(), False),
        (helper.make_node("Mul", ["features", "held"], ["mixed"]), np.array([0.5], np.float32), False),
        (
            helper.make_node("Mul", ["features", "held"], ["mixed"]),
            np.linspace(0, 1, SIDE, dtype=np.float32).reshape(1, 1, 1, SIDE),
            False,
        ),
        (helper.make_node("Where", ["yes", "features", "held"], ["mixed"]), weight(SIDE, SIDE), False),
        (helper.make_node("Add", ["features", "held"], ["mixed"]), weight(1, CHANNELS, SIDE, SIDE), True),
        (helper.make_node("Mul", ["features", "held"], ["mixed"]), weight(CHANNELS, 1, 1), True),
        (helper.make_node("Mul", ["features", "held"], ["mixed"]), np.full((CHANNELS, 1, 1), 1e-5, np.float32), True),
        (helper.make_node("PRelu", ["features", "held"], ["mixed"]), np.full((1, 1, 1), 0.25, np.float32), True),
    ],
    ids=["unused", "grid", "number", "ramp", "mask", "embedding", "scale", "fresh scale", "slope"],
)
def test_what_is_trained_is_told_from_settings(node: onnx.NodeProto, held: np.ndarray, trained: bool) -> None:
    found = read(network([node], {"held": held, "yes": np.array(True)}))
    assert found.params == C_PARAMS + (held.size if trained else 0)


def test_shapes_that_a_file_states_are_not_believed_against_its_input() -> None:
    """Believed, a side of 112 would make 5,419,168 multiply-accumulates of 442,528."""
    stale = network()
    stale.graph.value_info.append(value("features", [1, CHANNELS, 112, 112]))
    assert CONVOLUTION // SIDE**2 * 112**2 + CLASSIFIER == 5_419_168
    told = onnx_layers(stale, SIDE)
    assert told.macs == C
    assert told.counts_note == (
        "the file says that features is 1x16x112x112, but from its input follows 1x16x32x32, which is counted"
    )
    stale.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    followed = onnx_layers(stale, SIDE)
    assert (followed.macs, followed.counts_note) == (C, None)  # the shapes were those of another size


def test_outputs_that_a_file_states_are_not_believed_against_its_input() -> None:
    wrong = network()
    wrong.graph.output[0].CopyFrom(value("output", [1, 1000]))
    found = onnx_layers(wrong, SIDE)
    assert found.macs == C
    assert found.counts_note is not None
    assert "output is 1x1000, but from its input follows 1x10" in found.counts_note


def test_one_name_of_several_axes_is_not_their_size() -> None:
    model = network(shape=("N", 3, "N", "N"))
    model.graph.value_info.append(value("features", ["N", CHANNELS, "N", "N"]))
    found = read(model)
    assert (found.macs, found.activations, found.counts_note) == (C, C_ACTIVATIONS, None)


@pytest.mark.parametrize("opset", [17, 22])
@pytest.mark.parametrize("operation", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    ("side", "kernel", "stride", "pad"), [(14, 3, 3, 1), (13, 3, 3, 1), (16, 3, 2, 1), (15, 2, 2, 0), (9, 1, 2, 0)]
)
def test_a_pool_that_rounds_up_is_sized_as_it_runs(
    operation: str, opset: int, side: int, kernel: int, stride: int, pad: int
) -> None:
    attributes: dict[str, Any] = {
        "kernel_shape": [kernel] * 2,
        "strides": [stride] * 2,
        "pads": [pad] * 4,
        "ceil_mode": 1,
    }
    nodes = [
        helper.make_node(operation, ["features"], ["pooled once"], **attributes),
        helper.make_node("Relu", ["pooled once"], ["kept"]),
        helper.make_node(operation, ["kept"], ["mixed"], **attributes),
    ]
    model = network(nodes, shape=(1, 3, side, side), opset=opset)
    found = onnx_layers(model, side)
    model.graph.output.extend([value("pooled once"), value("mixed")])
    _, once, twice = runs(model, (1, 3, side, side))
    pools = [layer for layer in found.layers if layer.operation == "average_pool"]
    assert [layer.out_side for layer in pools] == [once.shape[-1], twice.shape[-1]]


def test_the_network_behind_such_a_pool_has_its_own_work() -> None:
    """ONNX's inference has 36 pixels where 25 are computed: 417.1 k for 315.7 k."""
    nodes = [
        helper.make_node("MaxPool", ["features"], ["small"], kernel_shape=[3, 3], strides=[3, 3], pads=[1] * 4,
                         ceil_mode=1),
        conv("small", "w", "mixed"),
    ]  # fmt: skip
    model = network(nodes, {"w": weight(64, CHANNELS, 3, 3)}, shape=(1, 3, 14, 14), channels=64)
    assert onnx_layers(model, 14).macs == 16 * 27 * 14**2 + 64 * 16 * 9 * 5**2 + 640 == 315_712


def test_a_row_of_weights_in_a_subgraph_is_counted_once() -> None:
    inside = helper.make_graph(
        [conv("features", "own", "end")], "branch", [], [value("end")], [numpy_helper.from_array(KERNEL["w"], "own")]
    )
    node = helper.make_node("If", ["yes"], ["mixed"], then_branch=inside, else_branch=inside)
    found = onnx_layers(network([node], {"yes": np.array(True)}), SIDE)
    assert (found.macs, found.params) == (C + SQUARE, C_PARAMS + KERNEL["w"].size)
