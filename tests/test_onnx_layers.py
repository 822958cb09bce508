"""Layer records read off ONNX graphs: the architecture's own, known networks' counts, and what has no record."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from deepmad.profilers.measuring.sources import load_source
from deepmad.profilers.onnx_files.export import export_onnx, onnx_bytes
from deepmad.profilers.onnx_files.layers import onnx_layers, read_onnx_layers
from deepmad.profilers.prediction.features import Basis, terms
from deepmad.profilers.prediction.network_layers import NetworkLayers, predict_layers
from deepmad.profilers.prediction.prediction import FEMTOSECONDS_IN_NANOSECOND, Prediction, network_nanoseconds
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Layer
from tests.catalogue import StairTable, mixed, one_block

NETWORKS = {
    **{kind: one_block(kind) for kind in BLOCKS},
    "backbone": replace(one_block("mbconv_se"), classes=0),
    "mixed": mixed(),
    "one pixel": replace(one_block("mbconv_se"), resolution=2),
}


def distinct(network: Architecture) -> Prediction:
    """Return a predictor that gives every feature of a network's layers a cost of its own."""
    basis = Basis.of([network])
    names = sorted({name for layer in NetworkLayers.of(network).layers for name, _ in terms(layer, basis)})
    costs = np.random.default_rng(0).integers(1, 1000, len(names)) * FEMTOSECONDS_IN_NANOSECOND
    return Prediction(basis, tuple(zip(names, costs.tolist(), strict=True)), 12_345 * FEMTOSECONDS_IN_NANOSECOND)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_exported_network_reads_as_its_own_records(name: str) -> None:
    network = NETWORKS[name]
    own = NetworkLayers.of(network)
    read = onnx_layers(onnx.load_from_string(onnx_bytes(network)), network.resolution)
    table = distinct(network)
    assert predict_layers(table, own.layers) == network_nanoseconds(table, network) / 1e9
    assert predict_layers(table, read.layers) == network_nanoseconds(table, network) / 1e9
    assert (read.macs, read.activations) == (own.macs, own.activations)
    assert (read.left_out, read.approximated, read.withheld) == ((), (), None)
    normalised = sum(layer.outputs for layer in own.layers if layer.norm)
    assert read.params == own.params - normalised  # the file holds a shift for scale and shift


def test_additions_are_found() -> None:
    read = onnx_layers(onnx.load_from_string(onnx_bytes(one_block("bottleneck"))), 32)
    assert [layer for layer in read.layers if layer.adds] == [
        replace(layer, norm=False, bias=True, activation=None)
        for layer in NetworkLayers.of(one_block("bottleneck")).layers
        if layer.adds
    ]


@pytest.mark.usefixtures("torchvision_operators")
def test_a_network_of_timm_has_its_known_costs(tmp_path: Path) -> None:
    """EfficientNet-B0 at 224, as timm's benchmark files have it."""
    source = load_source("timm:efficientnet_b0")
    path = export_onnx(source.model, tmp_path / "model.onnx", 1, resolution=224)  # type: ignore[arg-type]
    read = read_onnx_layers(path, 224)
    assert read.macs == pytest.approx(0.39e9, rel=0.02)
    assert read.activations == pytest.approx(6.75e6, rel=1e-3)
    assert read.params == pytest.approx(5.29e6, rel=0.02)
    assert (read.left_out, read.approximated, read.withheld) == ((), (), None)
    kinds = Counter((layer.role, layer.operation) for layer in read.layers)
    assert kinds == {
        ("main", "conv"): 49,
        ("gate", "global_pool"): 16,
        ("gate", "conv"): 32,
        ("classifier", "global_pool"): 1,
        ("classifier", "linear"): 1,
    }


def model(nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], channels: int = 8) -> onnx.ModelProto:
    """Return a model on 8x8 images, its batch and its intermediate shapes left open."""
    tensors = [
        helper.make_tensor(name, TensorProto.FLOAT, shape, np.ones(shape, np.float32).ravel())
        for name, shape in weights.items()
    ]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", channels, 8, 8])
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "network", [images], [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)])


def conv(source: str, weight: str, target: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", [source, weight], [target], **attributes)


def test_a_grouped_convolution_is_as_many_dense_ones() -> None:
    read = onnx_layers(model([conv("images", "w", "output", group=2, pads=[1] * 4)], {"w": (12, 4, 3, 3)}), 8)
    assert read.layers == (Layer("main", "conv", 4, 6, 8, 3, norm=False),) * 2
    assert read.macs == sum(layer.macs for layer in read.layers)
    assert read.params == 12 * 4 * 9
    assert read.caveat is not None
    assert "2 groups" in read.caveat


def test_a_depthwise_convolution_may_have_more_outputs() -> None:
    read = onnx_layers(model([conv("images", "w", "output", group=8, strides=[2, 2])], {"w": (16, 1, 2, 2)}), 8)
    assert read.layers == (Layer("main", "conv", 8, 16, 8, 2, 2, depthwise=True, norm=False),)
    assert read.caveat is None
    assert read.macs == read.layers[0].macs


def test_pools_and_products_have_their_nearest_record() -> None:
    nodes = [
        helper.make_node("MaxPool", ["images"], ["pooled"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        helper.make_node("Transpose", ["pooled"], ["last"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["last", "w"], ["product"]),
        helper.make_node("Softmax", ["product"], ["output"]),
    ]
    read = onnx_layers(model(nodes, {"w": (8, 24)}), 8)
    pool = Layer("shortcut", "average_pool", 8, 8, 8, 3, 2, norm=False)
    assert read.layers == (pool, Layer("main", "conv", 8, 24, 4, norm=False, bias=True))
    assert read.macs == 8 * 24 * 16
    assert read.left_out == ("1 Softmax", "1 Transpose")
    assert read.withheld is None
    assert predict_layers(StairTable(), read.layers) == pytest.approx(20e-6 + sum(
        StairTable().nanoseconds(layer) for layer in read.layers
    ) / 1e9)  # fmt: skip


@pytest.mark.parametrize("operation", ["AveragePool", "MaxPool"])
def test_a_pool_over_the_whole_map_is_a_global_one(operation: str) -> None:
    def read(pool: onnx.NodeProto) -> tuple[Layer, ...]:
        nodes = [
            conv("images", "w", "features"), pool, helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "head"], ["output"]),
        ]  # fmt: skip
        return onnx_layers(model(nodes, {"w": (16, 8, 1, 1), "head": (16, 10)}), 8).layers

    window = helper.make_node(operation, ["features"], ["pooled"], kernel_shape=[8, 8])
    assert read(window) == read(helper.make_node("GlobalAveragePool", ["features"], ["pooled"]))
    assert read(window)[1:] == (
        Layer("classifier", "global_pool", 16, 16, 8, norm=False),
        Layer("classifier", "linear", 16, 10, 1, norm=False, bias=True),
    )


@pytest.mark.parametrize(
    ("nodes", "weights", "words"),
    [
        ([helper.make_node("MatMul", ["images", "images"], ["output"])], {}, "attention"),
        ([helper.make_node("ConvTranspose", ["images", "w"], ["output"])], {"w": (8, 4, 2, 2)}, "ConvTranspose"),
        ([conv("images", "w", "output")], {"w": (8, 8, 1, 7)}, "1x7"),
        ([helper.make_node("ConvInteger", ["images", "w"], ["output"])], {"w": (8, 8, 1, 1)}, "ConvInteger"),
        ([helper.make_node("FusedConv", ["images", "w"], ["output"], domain="com.acme")], {"w": (8, 8, 1, 1)}, "Fused"),
    ],
)
def test_what_decides_and_has_no_record_withholds_the_prediction(
    nodes: list[onnx.NodeProto], weights: dict[str, tuple[int, ...]], words: str
) -> None:
    read = onnx_layers(model(nodes, weights), 8)
    assert read.withheld is not None
    assert words in read.withheld
    assert read.layers == ()


def test_a_file_that_is_no_network_is_told(tmp_path: Path) -> None:
    unknown = model([helper.make_node("Magic", ["images"], ["output"], domain="com.acme")], {})
    del unknown.opset_import[1]
    with pytest.raises(InputError, match="shapes cannot be inferred"):
        onnx_layers(unknown, 8)
    (tmp_path / "bad.onnx").write_text("nonsense")
    with pytest.raises(InputError, match=r"bad\.onnx"):
        read_onnx_layers(tmp_path / "bad.onnx", 8)
