"""The shapes of an ONNX graph's tensors, and which of its nodes use which."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from deepmad.profilers.onnx_files.flattening import Flat, Scope
from deepmad.profilers.onnx_files.inference import Shape, infer
from deepmad.profilers.onnx_files.reading import told_channels

if TYPE_CHECKING:
    import onnx

_SCALES = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Shapes:
    """Shapes of the tensors by name; `constant` are those that do not depend on the images.

    `nodes` is the graph without graphs inside it, `scopes` the branches and loops that nodes came from, `tensors` the
    constants that it holds. `batch` is the number of images that the shapes are for, `bookkeeping` the tensors of
    whole numbers, `contradiction` the sentence that says where the file states other shapes.
    """

    nodes: tuple["onnx.NodeProto", ...]
    scopes: dict[str, tuple[Scope, ...]]
    tensors: dict[str, "onnx.TensorProto"] = field(repr=False)
    batch: int
    sizes: dict[str, Shape]
    constant: frozenset[str]
    bookkeeping: frozenset[str]
    contradiction: str | None
    users: dict[str, list["onnx.NodeProto"]] = field(repr=False)

    @staticmethod
    def of(model: "onnx.ModelProto", side: int) -> "Shapes":
        """Return the shapes of a model's tensors: an open batch is 1, open sides of the input are `side`.

        Raises `InputError` where the network contradicts itself.
        """
        flat = Flat.of(model)
        inferred = infer(model, flat, side, told_channels(model.graph))
        constant = set(flat.constants)
        users: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in flat.nodes:
            if all(name in constant for name in node.input if name):
                constant.update(node.output)
            for name in node.input:
                users[name].append(node)
        return Shapes(
            tuple(flat.nodes), flat.scopes, flat.constants, inferred.batch, inferred.sizes, frozenset(constant),
            inferred.whole, inferred.contradiction, dict(users),
        )  # fmt: skip

    def __getitem__(self, name: str) -> Shape | None:
        """Return the shape of a tensor, None where it is not known, or such that the tensor would hold nothing."""
        shape = self.sizes.get(name)
        return None if shape is None or any(size < 1 for size in shape) else shape

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
