"""ONNX models in the precision that a back end runs: strongly typed fp16, and int8 by quantise-dequantise pairs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepmad.profilers.errors import require_memory
from deepmad.profilers.onnx_files.export import export_onnx, onnx_bytes
from deepmad.profilers.onnx_files.leaving import write_beside
from deepmad.profilers.onnx_files.reading import ImageSize, image_inputs, read_model
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, first_line

if TYPE_CHECKING:
    import onnx
    from torch import nn

    from deepmad.profilers.settings import Settings


def onnx_model(model: "Architecture | nn.Module | Path", settings: "Settings") -> "onnx.ModelProto":
    """Return `model` as an ONNX model of one input of the shape in `settings`, in its precision.

    fp16 types every tensor as fp16, the input too; int8 has quantise-dequantise pairs around convolutions and
    the classifier, their ranges taken from random images: good for timing, not for accuracy. Raises
    `InputError` for a file that cannot be read, or one whose input has another shape or type.
    """
    import onnx

    if settings.precision == "int8":
        with tempfile.TemporaryDirectory() as folder:
            return onnx.load(str(write_quantised(model, settings, Path(folder))))
    found = _loaded(model, settings)
    return half(found) if settings.precision == "fp16" else found


def lean_model(path: Path, settings: "Settings") -> "onnx.ModelProto":
    """Return the fp32 model in a file as `onnx_model` does, but with its weights left on the disk (`leaving`)."""
    found = read_model(path, weights=False)
    _set_shape(found, settings, str(path))
    return found


def half(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a copy of an fp32 model whose floating-point tensors are all fp16, inputs and outputs included."""
    import onnx
    from onnx import TensorProto, numpy_helper

    typed = onnx.ModelProto()
    typed.CopyFrom(model)
    for tensor in _tensors(typed):
        if tensor.data_type == TensorProto.FLOAT:
            with np.errstate(over="ignore"):  # what fp16 cannot hold becomes infinite, which takes as long
                values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    graph = typed.graph
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
    return typed


def write_quantised(model: "Architecture | nn.Module | Path", settings: "Settings", folder: Path) -> Path:
    """Write an int8 version of an fp32 network to a folder, its weights beside it, and return the file's path.

    Activations are unsigned, weights signed, a channel each. The weights of a file are read from the disk, and in
    memory twice at the most. Raises `InputError` for a network that ONNX Runtime cannot quantise, and as `onnx_model`.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class RandomImages(CalibrationDataReader):  # type: ignore[misc]
        """One batch of random images."""

        def __init__(self) -> None:
            self._batches = iter([{image_inputs(source.graph)[0].name: random_images(settings)}])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._batches, None)

    source = lean_model(model, settings) if isinstance(model, Path) else _loaded(model, settings)
    # Says that no pre-processing is wanted: folding is done already, and the library would warn on the root logger.
    source.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    path = folder / "int8.onnx"
    try:
        quantize_static(
            str(write_beside(source, folder, links=False)),
            str(path),
            RandomImages(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            use_external_data_format=True,
        )
    except Exception as error:  # the quantiser raises what it likes
        require_memory(error, "the quantised network")
        raise InputError(f"int8: ONNX Runtime cannot quantise the network ({first_line(error)})") from error
    return path


def random_images(settings: "Settings") -> np.ndarray:
    """Return the fixed random input of the shape in `settings`, float32."""
    return np.random.default_rng(0).standard_normal(settings.shape, dtype=np.float32)


def _loaded(model: "Architecture | nn.Module | Path", settings: "Settings") -> "onnx.ModelProto":
    """Return the model as it is written or read, fp32, its input of the shape in `settings`."""
    import onnx

    if isinstance(model, Architecture):
        found = onnx.load_from_string(onnx_bytes(model, settings.batch))
    elif isinstance(model, Path):
        found = read_model(model)
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            export_onnx(model, path, settings.batch, in_channels=settings.in_channels, resolution=settings.resolution)
            found = onnx.load(str(path))
    _set_shape(found, settings, str(model) if isinstance(model, Path) else "the exported network")
    return found


def _set_shape(model: "onnx.ModelProto", settings: "Settings", name: str) -> None:
    """Give the open axes of the input their sizes; raise `InputError` unless the input fits `settings`.

    What a file with open axes says of the tensors behind its input is dropped: it follows from the input.
    """
    from onnx import TensorProto

    inputs = image_inputs(model.graph)
    taken = [TensorProto.DataType.Name(item.type.tensor_type.elem_type) for item in inputs]
    if taken not in ([["FLOAT"], ["FLOAT16"]] if settings.precision == "fp16" else [["FLOAT"]]):
        found = ", ".join(taken) or "nothing"
        raise InputError(f"{name}: takes {found}; in {settings.precision} only one floating-point input can be timed")
    ImageSize.of(model, name).check(name, settings.shape)
    dims = inputs[0].type.tensor_type.shape.dim
    if all(axis.dim_value for axis in dims):
        return
    for axis, wanted in zip(dims, settings.shape, strict=True):
        axis.dim_value = wanted
    del model.graph.value_info[:]
    for value in model.graph.output:
        for axis in value.type.tensor_type.shape.dim:
            axis.Clear()


def _tensors(model: "onnx.ModelProto") -> "Iterator[Any]":
    """Yield the constants of a model: weights, and those inside nodes."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
