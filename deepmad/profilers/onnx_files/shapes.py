"""The shapes of an ONNX graph's tensors, and which of its nodes use which."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from deepmad.search_spaces.errors import InputError, first_line

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
_BOOKKEEPING = ("INT64", "INT32", "BOOL", "STRING")
"""Types of the tensors that say how others are shaped, and carry nothing of the images."""
_SCALES = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Shapes:
    """Shapes of the tensors by name; `constant` are those that do not depend on the images.

    `batch` is the number of images that the shapes are for, `bookkeeping` the tensors of whole numbers.
    """

    nodes: tuple["onnx.NodeProto", ...]
    batch: int
    sizes: dict[str, Shape]
    constant: frozenset[str]
    bookkeeping: frozenset[str]
    params: int
    users: dict[str, list["onnx.NodeProto"]] = field(repr=False)

    @staticmethod
    def of(model: "onnx.ModelProto", side: int) -> "Shapes":
        """Return the shapes of a model's tensors: an open batch is 1, open sides of the input are `side`.

        Raises `InputError` where the network contradicts itself.
        """
        import onnx
        from onnx import TensorProto

        graph = _with_input(model, side).graph
        sizes: dict[str, Shape] = {weight.name: tuple(weight.dims) for weight in graph.initializer}
        bookkeeping = set()
        for value in [*graph.input, *graph.value_info, *graph.output]:
            tensor = value.type.tensor_type
            if TensorProto.DataType.Name(tensor.elem_type) in _BOOKKEEPING:
                bookkeeping.add(value.name)
            dims = tensor.shape.dim
            if tensor.HasField("shape") and all(axis.HasField("dim_value") for axis in dims):
                sizes[value.name] = tuple(axis.dim_value for axis in dims)
        constant = {weight.name for weight in graph.initializer}
        users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in graph.node:
            if all(name in constant for name in node.input if name):
                constant.update(node.output)
            for name in node.input:
                users[name].append(node)
        batch = sizes[_image(graph).name][0]
        params = sum(math.prod(weight.dims) for weight in graph.initializer if _learned(weight, users[weight.name]))
        return Shapes(tuple(graph.node), batch, sizes, frozenset(constant), frozenset(bookkeeping), params, dict(users))

    def __getitem__(self, name: str) -> Shape | None:
        """Return the shape of a tensor, None where it is not known."""
        return self.sizes.get(name)

    def computes(self, node: "onnx.NodeProto") -> bool:
        """Return whether a node works on something that depends on the images, shapes aside."""
        return not any(name in self.constant or name in self.bookkeeping for name in node.output)

    @cached_property
    def _makers(self) -> dict[str, "onnx.NodeProto"]:
        return {name: node for node in self.nodes for name in node.output}

    def normalised(self, name: str) -> bool:
        """Return whether a tensor goes through a normalisation of its own next."""
        return any(node.op_type == "BatchNormalization" for node in self.users.get(name, ()))

    def convolution_before(self, name: str) -> str | None:
        """Return the output of the convolution that makes a tensor, a normalisation between them or not."""
        node = self._makers.get(name)
        while node is not None and node.op_type in ("BatchNormalization", "Identity", *_SCALES):
            node = self._makers.get(node.input[0])
        return node.output[0] if node is not None and node.op_type == "Conv" else None

    def after_pool(self, pool: "onnx.NodeProto") -> tuple[set[str], bool]:
        """Return the tensors of one pixel that follow from a global pool, and whether they gate the pool's input.

        They do where they end in a product with it, as in squeeze-excitation.
        """
        source, gates = pool.input[0], False
        found, pending = set(), [pool.output[0]]
        while pending:
            for node in self.users.get(pending.pop(), ()):
                if node.op_type == "Mul" and source in node.input:
                    gates = True
                    continue
                name = node.output[0]
                if name not in found and math.prod((self[name] or (2, 2, 2, 2))[2:]) == 1:
                    found.add(name)
                    pending.append(name)
        return found, gates


def _image(graph: "onnx.GraphProto") -> "onnx.ValueInfoProto":
    """Return the graph's input that is no weight."""
    weights = {weight.name for weight in graph.initializer}
    image: onnx.ValueInfoProto = next(value for value in graph.input if value.name not in weights)
    return image


def _with_input(model: "onnx.ModelProto", side: int) -> "onnx.ModelProto":
    """Return a copy whose open axes have their sizes and whose shapes are inferred."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    named = {}
    for axis, size in zip(_image(fixed.graph).type.tensor_type.shape.dim, (1, 3, side, side), strict=False):
        if not axis.dim_value:
            if axis.dim_param:
                named[axis.dim_param] = size
            axis.dim_value = size
    for value in [*fixed.graph.value_info, *fixed.graph.output]:
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in named:
                axis.dim_value = named[axis.dim_param]
    try:
        return onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    except Exception as error:  # the inference raises classes of its own
        raise InputError(f"the ONNX network: its shapes cannot be inferred ({first_line(error)})") from error


def _learned(weight: "onnx.TensorProto", users: "list[onnx.NodeProto]") -> bool:
    """Return whether a constant is a trained parameter: no scalar, shape, scale, zero point or running mean."""
    from onnx import TensorProto

    for node in users:
        place = list(node.input).index(weight.name)
        if node.op_type in _SCALES:
            return place == 0
        if node.op_type == "BatchNormalization":
            return place < 3
    return bool(weight.dims) and TensorProto.DataType.Name(weight.data_type) not in _BOOKKEEPING
