"""ONNX files read without their weights: these stay on the disk, and are looked at where they lie.

A file is a protobuf message. Its large tensors are cut out of the message before it is parsed, and the tensors say
where their bytes are, as ONNX's external data do: which file, from which byte on, how many.
"""

import mmap
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

LEAST_BYTES = 2**16
"""Smaller tensors stay in the message: they may be shapes, whose values are asked for."""
_GRAPH, _INITIALIZER = 7, 5
_DATA_TYPE, _RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 2, 9, 13, 14
"""Numbers of the fields of a model, its graph and a tensor (onnx.proto)."""
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""How a field is written."""
_NUMBERS = frozenset({1, 2, 3, 4, 5, 10, 11, 16, 17, 18, 19, 20})
"""Types of tensors (TensorProto.DataType) that hold weights: neither shapes (int32, int64), nor truths, nor text."""
_LONGEST_VARINT = 10


def without_weights(path: Path) -> "onnx.ModelProto":
    """Return the model in an ONNX file; its large tensors name the place of their bytes, with an absolute path.

    Raises whatever is wrong with a file that is not one, and `OSError`.
    """
    import onnx

    content = b""
    if path.stat().st_size:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as message:
            content = b"".join(_lean_model(message, str(path.resolve())))
    model: onnx.ModelProto = onnx.ModelProto.FromString(content)
    for tensor in model.graph.initializer:
        if tensor.data_location == tensor.EXTERNAL:
            _locate(tensor, path)
    return model


def place_of(tensor: "onnx.TensorProto") -> tuple[Path, int, int] | None:
    """Return the file of a tensor's bytes, the first one and their number; None where it is not known."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    path = Path(entries.get("location", ""))
    if not path.is_absolute():
        return None
    return path, int(entries.get("offset", 0)), int(entries.get("length", 0))


def values_of(tensor: "onnx.TensorProto") -> np.ndarray | None:
    """Return a tensor's values, those on the disk without reading them; None where they are not at hand."""
    from onnx import helper, numpy_helper

    if tensor.data_location != tensor.EXTERNAL:
        found: np.ndarray = numpy_helper.to_array(tensor)
        return found
    place = place_of(tensor)
    if place is None:
        return None
    path, offset, length = place
    kind, shape = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)), tuple(tensor.dims)
    if kind.itemsize * int(np.prod(shape, dtype=np.int64)) != length:  # several values may share a byte
        return None
    return np.memmap(path, kind, "r", offset, shape)


def weight_bytes(model: "onnx.ModelProto") -> int:
    """Return how many bytes of a model's weights lie on the disk."""
    places = (place_of(tensor) for tensor in model.graph.initializer)
    return sum(place[2] for place in places if place is not None)


def write_beside(model: "onnx.ModelProto", folder: Path, *, links: bool = True) -> Path:
    """Write a model to a folder, and beside it, as links where possible, the files with its weights; return its path.

    The weights are read from there without being copied in memory. `onnx` itself reads no links: without `links` the
    files are copied. Raises `OSError`.
    """
    import onnx

    written, names = onnx.ModelProto(), dict[Path, str]()
    written.CopyFrom(model)
    for tensor in written.graph.initializer:
        if tensor.data_location != tensor.EXTERNAL or (place := place_of(tensor)) is None:
            continue
        name = names.setdefault(place[0], f"weights-{len(names)}")
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = name
    for source, name in names.items():
        if not (links and _linked(source, folder / name)):
            shutil.copyfile(source, folder / name)
    target = folder / "model.onnx"
    target.write_bytes(written.SerializeToString())
    return target


def _linked(source: Path, target: Path) -> bool:
    """Link a file, and return whether that can be done: not from another file system, nor to somebody else's file."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _locate(tensor: "onnx.TensorProto", path: Path) -> None:
    """Give a tensor whose bytes lie in a file beside its own that file's absolute path; take small ones over."""
    entries = {entry.key: entry for entry in tensor.external_data}
    location = entries.get("location")
    if location is None or Path(location.value).is_absolute():
        return
    folder = path.parent.resolve()
    file = (folder / location.value).resolve()
    if not file.is_relative_to(folder) or not file.is_file():
        return
    offset = int(entries["offset"].value) if "offset" in entries else 0
    length = int(entries["length"].value) if "length" in entries else file.stat().st_size - offset
    if length >= LEAST_BYTES:
        location.value = str(file)
        if "length" not in entries:
            tensor.external_data.add(key="length", value=str(length))
        return
    with file.open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    tensor.data_location = tensor.DEFAULT
    del tensor.external_data[:]


def _lean_model(message: mmap.mmap, location: str) -> Iterator[bytes]:
    """Yield the parts of a model's message, its graph's large tensors cut out."""
    for number, start, inner, end in _fields(message, 0, len(message)):
        if number == _GRAPH:
            yield _delimited(_GRAPH, b"".join(_lean_graph(message, inner, end, location)))
        else:
            yield message[start:end]


def _lean_graph(message: mmap.mmap, begin: int, stop: int, location: str) -> Iterator[bytes]:
    for number, start, inner, end in _fields(message, begin, stop):
        if number == _INITIALIZER and end - inner >= LEAST_BYTES:
            yield _delimited(_INITIALIZER, b"".join(_lean_tensor(message, inner, end, location)))
        else:
            yield message[start:end]


def _lean_tensor(message: mmap.mmap, begin: int, stop: int, location: str) -> Iterator[bytes]:
    """Yield the parts of a tensor's message; where its bytes are many, their place stands for them."""
    fields = list(_fields(message, begin, stop))
    kind = next((_varint(message, inner)[0] for number, _, inner, _ in fields if number == _DATA_TYPE), 0)
    for number, start, inner, end in fields:
        if number != _RAW_DATA or end - inner < LEAST_BYTES or kind not in _NUMBERS:
            yield message[start:end]
            continue
        for key, value in (("location", location), ("offset", str(inner)), ("length", str(end - inner))):
            yield _delimited(_EXTERNAL_DATA, _delimited(1, key.encode()) + _delimited(2, value.encode()))
        yield _written(_DATA_LOCATION << 3 | _VARINT) + _written(1)


def _fields(message: mmap.mmap, begin: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield the fields of a message: the number, where it starts, where its content does, and where both end.

    Raises `ValueError` for what is no message.
    """
    position = begin
    while position < stop:
        tag, inner = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            _, end = _varint(message, inner)
        elif kind == _BYTES:
            length, inner = _varint(message, inner)
            end = inner + length
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            end = inner + (8 if kind == _EIGHT_BYTES else 4)
        else:
            raise ValueError(f"no field is written in way {kind}")
        if end > stop:
            raise ValueError("a field does not end where its message does")
        yield tag >> 3, position, inner, end
        position = end


def _varint(message: mmap.mmap, position: int) -> tuple[int, int]:
    """Return a number, seven bits a byte, and where it ends. Raises `ValueError` for none."""
    value = 0
    for index, byte in enumerate(message[position : position + _LONGEST_VARINT]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            return value, position + index + 1
    raise ValueError("a number does not end")


def _written(value: int) -> bytes:
    """Return a number as `_varint` reads it."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _delimited(number: int, content: bytes) -> bytes:
    """Return a field of bytes."""
    return _written(number << 3 | _BYTES) + _written(len(content)) + content
