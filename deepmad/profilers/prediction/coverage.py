"""What a table's rows span, by kind of layer, and which layers of a network lie outside of it.

Beyond the rows a predictor goes on as the nearest of them did: kernels as the nearest one measured, sides and channels
along a straight line. That is a guess, so whoever is told a prediction is told how much of the network it is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from deepmad.profilers.prediction.features import VECTOR
from deepmad.profilers.prediction.stored import mapping, rising, wholes
from deepmad.search_spaces.layers import Layer

SPARE = 1.25
"""A side or a number of channels so many times beyond the rows still counts as within: a short way is no guess."""
WARNED, REFUSED = 0.8, 0.5
"""A prediction is doubtful where a smaller share of the layers lies within the rows; worthless below the second."""

POOLS = ("gate global_pool", "classifier global_pool", "shortcut average_pool")
"""Kinds of pools: one that a table has no row of is priced as the first that it has, by the elements it reads."""
POOL_KERNELS = (1, 2, 3)
"""Kernels of pools that the rows of other layers may price."""

Range = tuple[int, int]


@dataclass(frozen=True)
class Extent:
    """The kernels that layers of one kind have, and the least and most of their output sides and channels."""

    kernels: tuple[int, ...]
    sides: Range
    inputs: Range
    outputs: Range

    @staticmethod
    def of(layers: Iterable[Layer]) -> "Extent":
        """Return the extent of some layers of one kind."""
        found = list(layers)
        columns = (
            [layer.out_side for layer in found],
            *zip(*((one.inputs, one.outputs) for one in found), strict=True),
        )
        sides, inputs, outputs = ((int(min(column)), int(max(column))) for column in columns)
        return Extent(tuple(sorted({int(layer.kernel) for layer in found})), sides, inputs, outputs)

    def lacks(self, kind: str, layer: Layer) -> str | None:
        """Return what of a layer lies outside, like `a kernel of 31 in a depthwise conv`; None where nothing does."""
        if layer.kernel not in self.kernels:
            return f"a kernel of {layer.kernel} in a {kind} (its rows: {', '.join(map(str, self.kernels))})"
        numbers = {"side": (layer.out_side, self.sides)}
        numbers |= {"inputs": (layer.inputs, self.inputs), "outputs": (layer.outputs, self.outputs)}
        for name, (value, (low, high)) in numbers.items():
            if not low / SPARE <= value <= high * SPARE:
                side = "below" if value < low else "above"
                return f"{name} {side} {low if value < low else high} in a {kind}"
        return None


@dataclass(frozen=True)
class Within:
    """How many of a network's layers lie within the rows of a table, and what lies outside, the commonest first.

    `kernels` is whether a kernel beyond all those of its kind is among the latter: those are priced far too low.
    """

    inside: int
    total: int
    lacking: tuple[str, ...] = ()
    kernels: bool = False

    @property
    def share(self) -> float:
        """The share of the layers that lie within."""
        return self.inside / max(1, self.total)

    @property
    def sentence(self) -> str:
        """The sentence that tells of it."""
        told = f"{self.share:.0%} of {self.total} layers lie within what the table's rows span"
        more = f" and {len(self.lacking) - 2} more" if len(self.lacking) > 2 else ""
        return f"{told}; outside: {', '.join(self.lacking[:2])}{more}" if self.lacking else told


@dataclass(frozen=True)
class Coverage:
    """The extent of a table's rows for every kind of layer."""

    extents: tuple[tuple[str, Extent], ...]

    @staticmethod
    def of(layers: Iterable[Layer]) -> "Coverage":
        """Return what some layers span."""
        kinds: dict[str, list[Layer]] = {}
        for layer in dict.fromkeys(layers):
            kinds.setdefault(kind_of(layer), []).append(layer)
        return Coverage(tuple((kind, Extent.of(kinds[kind])) for kind in sorted(kinds)))

    def within(self, layers: Iterable[Layer]) -> Within:
        """Return how many of some layers lie within, each counted as often as it occurs."""
        extents, lacking, kernels = dict(self.extents), Counter[str](), False
        total = inside = 0
        for layer, count in Counter(layers).items():
            kind = kind_of(layer)
            extent = extents.get(kind)
            lacks = extent.lacks(kind, layer) if extent is not None else f"a {kind}, of which it has no row"
            total += count
            inside += 0 if lacks else count
            lacking.update({lacks: count} if lacks else {})
            kernels |= extent is not None and layer.kernel > extent.kernels[-1] and layer.operation == "conv"
        return Within(inside, total, tuple(what for what, _ in lacking.most_common()), kernels)

    def to_dict(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {kind: {name: list(value) for name, value in asdict(extent).items()} for kind, extent in self.extents}

    @staticmethod
    def from_dict(document: Any) -> "Coverage | None":
        """Return what `to_dict` wrote, None where a file has none. Raises `ValueError` or `KeyError` for another."""
        if document is None:
            return None
        return Coverage(tuple((kind, _extent(mapping(one))) for kind, one in mapping(document).items()))


def _extent(document: Mapping[str, Any]) -> Extent:
    sides, inputs, outputs = (wholes(document[name], least=1) for name in ("sides", "inputs", "outputs"))
    (least_side, most_side), (least_in, most_in), (least_out, most_out) = sides, inputs, outputs
    kernels = rising(wholes(document["kernels"], least=1))
    return Extent(kernels, (least_side, most_side), (least_in, most_in), (least_out, most_out))


def kind_of(layer: Layer) -> str:
    """Return the kind of a layer: only layers of one kind are priced alike."""
    if layer.operation != "conv" or layer.role == "gate":
        return f"{layer.role} {layer.operation}"
    if layer.depthwise:
        return "depthwise conv"
    return "narrow conv" if layer.inputs < VECTOR else "dense conv"
