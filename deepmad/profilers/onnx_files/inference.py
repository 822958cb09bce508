"""Shapes that follow from a network's input: inferred afresh, whatever the file itself says of them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepmad.profilers.onnx_files.flattening import Flat
from deepmad.profilers.onnx_files.reading import attribute, axes, image_inputs
from deepmad.search_spaces.errors import InputError, first_line

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
_WHOLE = ("INT64", "INT32", "BOOL", "STRING")
"""Types of the tensors that say how others are shaped, and carry nothing of the images."""
_SMALL = 1024
"""Constants of so many elements take part in the inference with their values, which may be shapes."""


@dataclass(frozen=True)
class Inferred:
    """Shapes of a network's tensors by name, those of whole numbers, and the batch that the shapes are for.

    `contradiction` is the sentence that says where the file's own shapes differ; None where they do not.
    """

    sizes: dict[str, Shape]
    whole: frozenset[str]
    batch: int
    contradiction: str | None


def infer(model: "onnx.ModelProto", flat: Flat, side: int, channels: int | None = None) -> Inferred:
    """Return the shapes of a model's tensors, an open batch being 1, open sides of the input `side`.

    What the file says of tensors is believed where nothing is inferred, its sides are fixed and nothing contradicts it.
    Raises `InputError` where the network contradicts itself.
    """
    images = image_inputs(model.graph)
    if not images:
        raise InputError("the ONNX network: it has no input; only networks that take images can be read")
    open_axes = [place for place, size in enumerate(axes(images[0])) if size is None]
    lean = _lean(model, flat, images, (1, channels or 3, side, side))
    result = _pools_sized(lean)
    declared = {value.name: value for value in [*model.graph.value_info, *model.graph.output]}
    found = _sizes(result) | {name: tuple(tensor.dims) for name, tensor in flat.constants.items()}
    contradiction = None if open_axes else _contradiction(declared.values(), found)
    if contradiction is None and set(open_axes) <= {0}:
        missing = [value for value in declared.values() if value.name not in found and all(axes(value)[1:])]
        if missing:
            _declare(lean, missing)
            result = _pools_sized(lean)
            found |= _sizes(result)
    return Inferred(found, frozenset(_whole(result)), found[images[0].name][0], contradiction)


def _lean(
    model: "onnx.ModelProto", flat: Flat, images: "list[onnx.ValueInfoProto]", filling: Shape
) -> "onnx.ModelProto":
    """Return the flat graph as a model without the values of its weights and without shapes that the file states."""
    from onnx import ModelProto, TensorProto, helper

    graph = helper.make_graph(flat.nodes, "network", [], [])
    lean: ModelProto = helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=max(4, model.ir_version)
    )
    for value in images:
        lean.graph.input.add().CopyFrom(value)
    dims = lean.graph.input[0].type.tensor_type.shape.dim
    for axis, size in zip(dims, filling, strict=False):
        if not axis.dim_value:
            axis.dim_value = size
    for name, tensor in flat.constants.items():
        kind = TensorProto.DataType.Name(tensor.data_type)
        if math.prod(tensor.dims) <= _SMALL or kind in _WHOLE:
            held = lean.graph.initializer.add()
            held.CopyFrom(tensor)
            held.name = name
        else:
            lean.graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, tensor.dims))
    made = {name for node in flat.nodes for name in node.output}
    for value in model.graph.output:
        if value.name in made:
            output = lean.graph.output.add()
            output.CopyFrom(value)
            output.type.tensor_type.ClearField("shape")
    return lean


def _run(lean: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(lean, data_prop=True)
    except Exception as error:  # the inference raises classes of its own
        raise InputError(f"the ONNX network: its shapes cannot be inferred ({first_line(error)})") from error


def _sizes(model: "onnx.ModelProto") -> dict[str, Shape]:
    """Return the shapes that a model states in full."""
    found = {}
    for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]:
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(axis.HasField("dim_value") for axis in dims):
            found[value.name] = tuple(axis.dim_value for axis in dims)
    return found


def _whole(model: "onnx.ModelProto") -> set[str]:
    """Return the tensors of whole numbers."""
    from onnx import TensorProto

    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    return {v.name for v in values if TensorProto.DataType.Name(v.type.tensor_type.elem_type) in _WHOLE}


def _pools_sized(lean: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the model with its shapes inferred; pools that round up are sized as runtimes size them.

    ONNX's inference counts, below operator set 22, a last window that would start in the padding. `lean` gets
    explicit padding at such pools.
    """
    pools = [node for node in lean.graph.node if _rounds_up(node)]
    while True:
        result = _run(lean)
        sizes = _sizes(result) if pools else {}
        for index, pool in enumerate(pools):
            source, target = sizes.get(pool.input[0]), sizes.get(pool.output[0])
            if source is not None and target is not None and target[2:] != (right := _pooled(pool, source[2:])):
                _pad_explicitly(pool, source[2:], right)
                del pools[: index + 1]  # those before are right already
                break
        else:
            return result


def _rounds_up(node: "onnx.NodeProto") -> bool:
    pools = ("AveragePool", "LpPool", "MaxPool")
    return (
        node.op_type in pools
        and attribute(node, "ceil_mode", 0) == 1
        and attribute(node, "auto_pad", "NOTSET") == "NOTSET"
    )


def _window(pool: "onnx.NodeProto") -> tuple[list[int], list[int], list[int], list[int]]:
    """Return what a pool's windows span, its strides, and its padding before and after, an entry an axis."""
    kernel = attribute(pool, "kernel_shape", [])
    ones = [1] * len(kernel)
    spans = [d * (k - 1) + 1 for d, k in zip(attribute(pool, "dilations", ones), kernel, strict=True)]
    pads = attribute(pool, "pads", [0] * 2 * len(kernel))
    return spans, attribute(pool, "strides", ones), pads[: len(kernel)], pads[len(kernel) :]


def _pooled(pool: "onnx.NodeProto", sides: Shape) -> Shape:
    """Return the sides of a pool that rounds up: a window that would start in the padding at the end is left out."""
    found = []
    for side, span, stride, before, after in zip(sides, *_window(pool), strict=True):
        windows = -(-(side + before + after - span) // stride) + 1
        found.append(windows - ((windows - 1) * stride >= side + before))
    return tuple(found)


def _pad_explicitly(pool: "onnx.NodeProto", sides: Shape, right: Shape) -> None:
    """Give a pool that rounds up the padding with which it has the right sides, rounding down."""
    from onnx import helper

    ends = []
    for side, windows, span, stride, before, after in zip(sides, right, *_window(pool), strict=True):
        ends.append(max(after, (windows - 1) * stride + span - side - before))
    _, _, before_all, _ = _window(pool)
    kept = [item for item in pool.attribute if item.name not in ("ceil_mode", "pads")]
    del pool.attribute[:]
    pool.attribute.extend([*kept, helper.make_attribute("pads", [*before_all, *ends])])


def _contradiction(declared: "Iterable[onnx.ValueInfoProto]", found: dict[str, Shape]) -> str | None:
    """Return the sentence that names the first tensor whose stated shape is not the one that follows."""
    for value in declared:
        sizes, right = axes(value), found.get(value.name)
        if right is None or not value.type.tensor_type.HasField("shape"):
            continue
        if len(sizes) != len(right) or any(size not in (None, own) for size, own in zip(sizes, right, strict=True)):
            stated, following = ("x".join(str(size or "?") for size in shape) for shape in (sizes, right))
            return (
                f"the file says that {value.name} is {stated}, but from its input follows {following}, which is counted"
            )
    return None


def _declare(lean: "onnx.ModelProto", missing: "list[onnx.ValueInfoProto]") -> None:
    """Let a model state the shapes of tensors that nothing is inferred for; an open batch is 1."""
    outputs = {value.name: value for value in lean.graph.output}
    for value in missing:
        stated = outputs.get(value.name) or lean.graph.value_info.add()
        stated.CopyFrom(value)
        for axis in stated.type.tensor_type.shape.dim:
            if not axis.dim_value:
                axis.dim_value = 1
