"""ONNX files as they are read: which input takes the images, and of which size they may be."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepmad.profilers.errors import require_memory
from deepmad.search_spaces.errors import InputError, first_line
from deepmad.search_spaces.ranges import check

if TYPE_CHECKING:
    import onnx

_AXES = ("batch", "channels", "height", "width")
_QUANTITIES = ("batch", "channels", "resolution", "resolution")
_KEEP_CHANNELS = frozenset({"Add", "Cast", "Clip", "Div", "Identity", "Mul", "Pad", "QuantizeLinear", "Relu", "Sub"})
"""Operators that may stand between the images and the first weight that tells their channels."""


def read_model(path: Path, *, weights: bool = True) -> "onnx.ModelProto":
    """Return the model in an ONNX file; without `weights` the large ones stay on the disk (`leaving`).

    Raises `InputError` where there is no such file, or none that can be read, and `MemoryError`.
    """
    import onnx

    from deepmad.profilers.onnx_files.leaving import without_weights

    if not path.is_file():
        raise InputError(f"{path}: no such file; give an architecture file or an ONNX file")
    try:
        model = onnx.load(str(path)) if weights else without_weights(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: its weights are missing ({first_line(error)}); put them beside it") from error
    except Exception as error:  # the parser raises classes of its own
        require_memory(error, str(path))
        if weights and type(error).__name__ == "DecodeError":  # which it raises where memory runs out, too
            read_model(path, weights=False)
            raise MemoryError(f"{path}; free some, or measure a smaller network") from error
        raise InputError(f"{path}: not an ONNX file that can be read ({type(error).__name__})") from error
    if not model.graph.node:
        raise InputError(f"{path}: not an ONNX file that can be read (it holds no operators)")
    return model


def image_inputs(graph: "onnx.GraphProto") -> "list[onnx.ValueInfoProto]":
    """Return the inputs of a graph that are no weights, in their order."""
    weights = {weight.name for weight in graph.initializer}
    return [value for value in graph.input if value.name not in weights]


def axes(value: "onnx.ValueInfoProto") -> list[int | None]:
    """Return the sizes of a tensor's axes, None for one that is left open; some exporters write a -1 for that."""
    return [axis.dim_value if axis.dim_value > 0 else None for axis in value.type.tensor_type.shape.dim]


@dataclass(frozen=True)
class ImageSize:
    """What a network's images are: an entry is None where the file leaves it open."""

    batch: int | None
    channels: int | None
    height: int | None
    width: int | None

    @staticmethod
    def of(model: "onnx.ModelProto", name: str) -> "ImageSize":
        """Return the size of a model's images; channels that the input leaves open are those of the first weight.

        Raises `InputError`, which calls the model `name`, where it does not take one input of four axes.
        """
        inputs = image_inputs(model.graph)
        if len(inputs) != 1:
            found = ", ".join(value.name for value in inputs) or "nothing"
            raise InputError(f"{name}: takes {found}; only networks with one input, of images, can be timed")
        sizes = axes(inputs[0])
        if len(sizes) != len(_AXES):
            raise InputError(f"{name}: its input has {len(sizes)} axes, not {len(_AXES)}: {', '.join(_AXES)}")
        return ImageSize(sizes[0], sizes[1] or told_channels(model.graph), sizes[2], sizes[3])

    def filled(self, name: str, batch: int, channels: int | None, side: int | None) -> tuple[int, int, int, int]:
        """Return the shape of a batch of images, what is open filled in.

        Raises `InputError`, which calls the model `name`, where what is asked for contradicts the file.
        """
        if side is None and (self.height is None or self.width is None):
            raise InputError(f"{name}: resolution: its input leaves the sides open; give one in pixels (--resolution)")
        shape = (batch, channels or self.channels or 3, side or self.height or 0, side or self.width or 0)
        self.check(name, shape)
        for quantity, axis, size in zip(_QUANTITIES, _AXES, shape, strict=True):
            check(quantity, size, f"{name}: the {axis} of its input")
        return shape

    def check(self, name: str, shape: tuple[int, int, int, int]) -> None:
        """Raise `InputError`, which calls the model `name`, unless it takes images of that shape."""
        held = (self.batch, self.channels, self.height, self.width)
        for axis, asked, fixed in zip(_AXES, shape, held, strict=True):
            if fixed not in (None, asked):
                ways = {"batch": f"take --batch {fixed}", "channels": f"give it {fixed}"}
                way = ways.get(axis, "leave --resolution out")
                raise InputError(f"{name}: its input's shape fixes the {axis} at {fixed}, not {asked}; {way}")


def told_channels(graph: "onnx.GraphProto") -> int | None:
    """Return the channels of the images that the first weight tells, None where none does."""
    weights = {weight.name: weight.dims for weight in graph.initializer}
    names = {value.name for value in image_inputs(graph)[:1]}
    for node in graph.node:
        if not names.intersection(node.input[:1]):
            continue
        if len(node.input) > 1 and node.input[1] in weights:
            dims = weights[node.input[1]]
            if node.op_type == "Conv" and len(dims) == len(_AXES):
                return int(dims[1] * next((item.i for item in node.attribute if item.name == "group"), 1))
            if node.op_type == "BatchNormalization":
                return int(dims[0])
        if node.op_type in _KEEP_CHANNELS or node.op_type == "DequantizeLinear":
            names.update(node.output)
    return None


def attribute(node: "onnx.NodeProto", name: str, default: Any) -> Any:
    """Return an attribute of a node, lists as lists, text as text."""
    from onnx import helper

    found = next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)
    if isinstance(found, bytes):
        return found.decode(errors="replace")
    return list(found) if isinstance(default, list) else found
