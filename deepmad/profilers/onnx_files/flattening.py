"""An ONNX graph without graphs inside it: local functions, branches and loops stand in one row of nodes.

A node remembers the branches and loops that it came from, so that its work can be counted as often as it is done.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepmad.profilers.onnx_files.reading import attribute
from deepmad.profilers.onnx_files.runtime_operators import as_onnx
from deepmad.search_spaces.errors import InputError, first_line

if TYPE_CHECKING:
    import onnx

_MOST_COPIES = 1024
"""Rounds of a loop whose results are strung together one by one; above it their shape is not known."""


@dataclass(frozen=True)
class Scope:
    """A loop's body, run `rounds` times, or a branch of an If, of which one runs.

    `name` is that of the loop's or the If's first output. `carried` are the tensors that a loop hands from round to
    round, as they enter and as they leave it: they have the same shapes where its rounds are all alike.
    """

    operation: str
    name: str
    branch: str = ""
    rounds: int = 1
    carried: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Flat:
    """The nodes of a graph in the order they run, its constants by name, and the scopes that nodes came from.

    `scopes` has an entry for the first output of every node that came from a branch or a loop, outermost first.
    """

    nodes: "list[onnx.NodeProto]" = field(default_factory=list)
    constants: "dict[str, onnx.TensorProto]" = field(default_factory=dict)
    scopes: dict[str, tuple[Scope, ...]] = field(default_factory=dict)

    @staticmethod
    def of(model: "onnx.ModelProto") -> "Flat":
        """Return the flat graph of a model. Raises `InputError` where a function of it contradicts itself."""
        flat = Flat()
        graph = _inlined(model).graph
        flat._constants(graph, {}, "")
        flat._add(graph.node, {}, ())
        return flat

    def _constants(self, graph: "onnx.GraphProto", names: dict[str, str], prefix: str) -> None:
        """Take over the constants of a graph under names of their own."""
        for weight in graph.initializer:
            names[weight.name] = prefix + weight.name
            self.constants[prefix + weight.name] = weight

    def _add(self, nodes: "Iterable[onnx.NodeProto]", names: dict[str, str], path: tuple[Scope, ...]) -> None:
        """Add nodes; `names` are the flat names of what they read where those differ."""
        for node in nodes:
            if (tensor := _constant(node)) is not None:
                self.constants[names.get(node.output[0], node.output[0])] = tensor
            elif node.op_type == "If" and node.domain in ("", "ai.onnx"):
                self._branches(node, names, path)
            elif node.op_type == "Loop" and node.domain in ("", "ai.onnx") and self._rounds(node, names) is not None:
                self._loop(node, names, path)
            else:
                for plain in as_onnx(node):
                    self._append(plain, names, path)

    def _append(self, node: "onnx.NodeProto", names: Mapping[str, str], path: tuple[Scope, ...]) -> None:
        import onnx

        renamed = node
        if names and any(name in names for name in (*node.input, *node.output)):
            renamed = onnx.NodeProto()
            renamed.CopyFrom(node)
            renamed.input[:] = [names.get(name, name) for name in node.input]
            renamed.output[:] = [names.get(name, name) for name in node.output]
        self.nodes.append(renamed)
        if path:
            self.scopes[renamed.output[0]] = path

    def _same(self, source: str, target: str, path: tuple[Scope, ...]) -> None:
        """Hand a tensor on under another name."""
        from onnx import helper

        self._append(helper.make_node("Identity", [source], [target]), {}, path)

    def _inside(
        self, body: "onnx.GraphProto", outer: dict[str, str], given: dict[str, str], path: tuple[Scope, ...], to: str
    ) -> list[str]:
        """Add the nodes of a graph inside a node; return the flat names of its outputs."""
        names = outer | given
        self._constants(body, names, to)
        names |= {name: to + name for node in body.node for name in node.output if name}
        self._add(body.node, names, path)
        return [names.get(value.name, value.name) for value in body.output]

    def _branches(self, node: "onnx.NodeProto", outer: dict[str, str], path: tuple[Scope, ...]) -> None:
        """Add both branches of an If, or the one that a constant chooses; the first one's results go on."""
        targets = [outer.get(name, name) for name in node.output]
        chosen = self._value(outer.get(node.input[0], node.input[0]))
        branches = ["then_branch", "else_branch"] if chosen is None else ["then_branch" if chosen else "else_branch"]
        for index, branch in enumerate(branches):
            within = path if chosen is not None else (*path, Scope("If", targets[0], branch))
            body = attribute(node, branch, None)
            results = self._inside(body, outer, {}, within, f"{targets[0]}/{branch}/")
            for source, target in zip(results, targets, strict=False) if index == 0 else ():
                self._same(source, target, path)

    def _loop(self, node: "onnx.NodeProto", outer: dict[str, str], path: tuple[Scope, ...]) -> None:
        """Add the body of a loop of so many rounds once."""
        from onnx import TensorProto, helper

        body, rounds = attribute(node, "body", None), self._rounds(node, outer)
        assert rounds is not None, "only such a loop is taken apart"
        targets = [outer.get(name, name) for name in node.output]
        to = f"{targets[0]}/body/"
        self.constants[f"{to}round"] = helper.make_tensor(f"{to}round", TensorProto.INT64, [], [0])
        self.constants[f"{to}goes on"] = helper.make_tensor(f"{to}goes on", TensorProto.BOOL, [], [True])
        entering = [outer.get(name, name) for name in node.input[2:]]
        names = [f"{to}round", f"{to}goes on", *entering]
        given = dict(zip((value.name for value in body.input), names, strict=False))
        scope = Scope("Loop", targets[0], rounds=rounds, carried=tuple(zip(entering, targets, strict=False)))
        results = self._inside(body, outer, given, (*path, scope), to)[1:]
        for index, target in enumerate(targets):
            if index < len(entering):
                self._same(results[index] if rounds else entering[index], target, path)
            elif 0 < rounds <= _MOST_COPIES:
                axes = f"{to}axes"
                self.constants[axes] = helper.make_tensor(axes, TensorProto.INT64, [1], [0])
                self._append(helper.make_node("Unsqueeze", [results[index], axes], [f"{to}{index}"]), {}, path)
                strung = helper.make_node("Concat", [f"{to}{index}"] * rounds, [target], axis=0)
                self._append(strung, {}, path)

    def _rounds(self, node: "onnx.NodeProto", names: Mapping[str, str]) -> int | None:
        """Return how often a loop runs, None where that depends on the images."""
        most, goes_on = ([*node.input, "", ""][place] for place in (0, 1))
        rounds = self._value(names.get(most, most)) if most else None
        if rounds is None or (goes_on and not self._value(names.get(goes_on, goes_on))):
            return None
        body = attribute(node, "body", None)
        end, entry = body.output[0].name, body.input[1].name
        makers = {name: inside for inside in body.node for name in inside.output}
        while end in makers and makers[end].op_type == "Identity":
            end = makers[end].input[0]
        held = {weight.name: weight for weight in body.initializer}
        tensor = held.get(end) or (_constant(makers[end]) if end in makers else None)
        always = end == entry or (tensor is not None and bool(_number(tensor)))
        return int(rounds) if always else None

    def _value(self, name: str) -> Any:
        """Return the number that a tensor holds, None where it is not a constant."""
        return _number(self.constants[name]) if name in self.constants else None


def _inlined(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return a model with its local functions in their callers' places."""
    from onnx.inliner import inline_local_functions

    if not model.functions:
        return model
    try:
        inlined: onnx.ModelProto = inline_local_functions(model, convert_version=True)
    except Exception as error:  # the inliner raises classes of its own
        raise InputError(f"the ONNX network: its functions cannot be inlined ({first_line(error)})") from error
    return inlined


def _constant(node: "onnx.NodeProto") -> "onnx.TensorProto | None":
    """Return the tensor of a Constant node, None for any other and for a sparse one."""
    import numpy as np
    from onnx import numpy_helper

    if node.op_type != "Constant" or not node.attribute:
        return None
    [held] = node.attribute[:1]
    if held.HasField("t"):
        tensor: onnx.TensorProto = held.t
        return tensor
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if held.name not in kinds:
        return None
    return numpy_helper.from_array(np.array(attribute(node, held.name, None), kinds[held.name]), node.output[0])


def _number(tensor: "onnx.TensorProto") -> Any:
    """Return the one number in a tensor, None where there are several or none is at hand."""
    from onnx import numpy_helper

    if tensor.data_location == tensor.EXTERNAL:
        return None
    values = numpy_helper.to_array(tensor)
    return values.ravel()[0].item() if values.size == 1 else None
