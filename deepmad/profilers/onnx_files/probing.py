"""One run of an ONNX file in ONNX Runtime beside the timing: what comes out, and how large its activations are."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deepmad.profilers.onnx_files.inference import Shape
from deepmad.profilers.onnx_files.leaving import values_of, weight_bytes, write_beside
from deepmad.profilers.onnx_files.precisions import lean_model, random_images
from deepmad.profilers.onnx_files.reading import image_inputs
from deepmad.profilers.onnx_files.shapes import Shapes
from deepmad.search_spaces.errors import InputError

if TYPE_CHECKING:
    import onnx

    from deepmad.profilers.settings import Settings

LARGEST_BYTES = 300_000_000
"""Larger networks are not loaded once more only to look at them."""
_LAYERS = ("Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul")


@dataclass(frozen=True)
class Probe:
    """What a network gives for the images that it is timed with, fp32.

    `largest` has the largest absolute activation by layer, in the order they run, `sizes` the tensors' shapes,
    `zero_weights` how many of its `weights` are zero throughout.
    """

    outputs: tuple[np.ndarray, ...]
    largest: Mapping[str, float]
    sizes: Mapping[str, Shape]
    zero_weights: int
    weights: int


def probe(path: Path, settings: "Settings") -> Probe | None:
    """Return what a file's network gives, None where it is large or ONNX Runtime does not run it in fp32."""
    import onnxruntime

    try:
        model = lean_model(path, replace(settings, precision="fp32"))
    except InputError:
        return None
    if path.stat().st_size > LARGEST_BYTES or weight_bytes(model) > LARGEST_BYTES:
        return None
    shapes = Shapes.of(model, settings.resolution)
    results = len(model.graph.output)
    layers = _watched(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = settings.threads, 4
    try:
        with tempfile.TemporaryDirectory() as folder:
            written = str(write_beside(model, Path(folder)))
            session = onnxruntime.InferenceSession(
                written, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            found = session.run(None, {image_inputs(model.graph)[0].name: random_images(settings)})
    except Exception:  # noqa: BLE001 - classes of its own; what times the network tells why it fails
        return None
    largest = dict(zip(layers, (float(one) for one in found[results:]), strict=True))
    return Probe(tuple(map(np.asarray, found[:results])), largest, shapes.sizes, *_zero_weights(shapes))


def _zero_weights(shapes: Shapes) -> tuple[int, int]:
    """Return how many of a network's weights are all zero, and how many there are; biases aside."""
    used = {node.input[1] for node in shapes.nodes if node.op_type in (*_LAYERS, "BatchNormalization")}
    weights = [shapes.tensors[name] for name in used if name in shapes.tensors]
    values = (values_of(one) for one in weights)
    return sum(found is not None and not found.any() for found in values), len(weights)


def _watched(model: "onnx.ModelProto") -> list[str]:
    """Let a model also return the largest absolute activation of every layer; return their names."""
    from onnx import TensorProto, helper

    layers = [node for node in model.graph.node if node.op_type in _LAYERS and node.domain in ("", "ai.onnx")]
    for number, node in enumerate(layers):
        absolute, largest = f"deepmad/{number}/absolute", f"deepmad/{number}/largest"
        model.graph.node.append(helper.make_node("Abs", [node.output[0]], [absolute]))
        model.graph.node.append(helper.make_node("ReduceMax", [absolute], [largest], keepdims=0))
        model.graph.output.append(helper.make_tensor_value_info(largest, TensorProto.FLOAT, []))
    return [node.name or node.output[0] for node in layers]
