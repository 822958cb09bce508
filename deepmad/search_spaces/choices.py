"""Choices: what a stem and a stage of a space offer, and the rules that tie widths together."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from deepmad.search_spaces.architectures import Channels, Depth, GivenStride, Kernel, Stride, check_odd
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.errors import InputError, shown, unknown
from deepmad.search_spaces.ranges import RANGES, field

_CLOSED = ConfigDict(extra="forbid", use_attribute_docstrings=True)
_MOST_CHOICES = 100_000


def _choices(step: int | None) -> BeforeValidator:
    """Read a list as a choice, `{min, max, step}` as a range, a bare value as fixed; None as the step: no range."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            if step is None:
                taken = "only a value or a list is taken here; list the values"
                raise InputError(f"{shown(value)} is a range, and {taken}")
            if set(value) - {"min", "max", "step"} or not {"min", "max"} <= set(value):
                raise InputError(f"a range has min, max and perhaps step, not {', '.join(map(str, value)) or 'no key'}")
            low, high, stride = value["min"], value["max"], value.get("step", step)
            if not all(type(item) is int and item > 0 for item in (low, high, stride)):
                raise InputError(f"a range's min, max and step are positive integers, not {shown(value)}")
            if high < low or (high - low) // stride >= _MOST_CHOICES:
                raise InputError(
                    f"the range {shown(value)} is empty, or over {_MOST_CHOICES} values; mend min, max or step"
                )
            return tuple(range(low, high + 1, stride))
        if isinstance(value, list | tuple) and len(value) > _MOST_CHOICES:
            raise InputError(f"a choice of {len(value)} values is over {_MOST_CHOICES}; leave some out")
        return tuple(value) if isinstance(value, list | tuple) else (value,)

    return BeforeValidator(read)


def _sorted_positive(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values or min(values) <= 0:
        raise InputError(f"needs at least one value, all of them positive, not {list(values)}")
    return tuple(sorted(set(values)))


def _schema(quantity: str) -> WithJsonSchema:
    """Say in JSON Schema what `_choices` reads of a quantity: a value, a list of them, a range of integers."""
    known = RANGES[quantity]
    limits = {key: {"type": "integer", "minimum": 1} for key in ("min", "max", "step")}
    span = {"type": "object", "properties": limits, "required": ["min", "max"], "additionalProperties": False}
    return _listed({"type": "integer", "minimum": known.least, "maximum": known.most}, span)


def _listed(item: dict[str, object], *others: dict[str, object]) -> WithJsonSchema:
    """Say in JSON Schema: one item, a list of them, or one of `others`."""
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}, *others]})


Widths = Annotated[tuple[Channels, ...], _choices(8), _schema("channels")]
Depths = Annotated[tuple[Depth, ...], _choices(1), _schema("depth")]
Kernels = Annotated[tuple[Kernel, ...], _choices(2), _schema("kernel")]
Strides = Annotated[tuple[GivenStride, ...], Field(alias="stride"), _choices(None), _listed({"enum": [1, 2]})]
Kinds = Annotated[tuple[str, ...], _choices(None), _listed({"enum": list(BLOCKS)})]
Expansions = Annotated[
    tuple[Annotated[float, field("expansion")], ...],
    _choices(None),
    _listed({"type": "number", "exclusiveMinimum": 0, "maximum": RANGES["expansion"].most}),
]


@dataclass(frozen=True)
class StemSpace:
    """The stem's choices."""

    __pydantic_config__ = _CLOSED
    out: Widths
    """Output channels: a value, a list, or a range {min, max, step}, whose step is 8 unless given."""
    kernel: Kernel = 3
    """Side of its kernel, odd."""
    stride: GivenStride = 2
    """2 halves the image."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", _sorted_positive(self.out))
        check_odd([self.kernel])


@dataclass(frozen=True)
class StageSpace:
    """One stage's choices; the inner width is a choice of its own or follows from `expansion`.

    A width that follows is rounded to a multiple of `multiple`. A file's key for `strides` is `stride`.
    """

    __pydantic_config__ = _CLOSED
    block: Kinds
    """Kind of the blocks, or a list that the solver chooses from: bottleneck, basic, mbconv, mbconv_se."""
    strides: Strides
    """Stride of the first block: 1, 2, or [1, 2] where the solver chooses."""
    out: Widths
    """Output channels: a value, a list, or a range {min, max, step}, whose step is 8 unless given."""
    kernel: Kernels
    """Side of the kernels, odd: a value, a list, or a range {min, max, step}, whose step is 2 unless given."""
    depth: Depths
    """Number of blocks: a value, a list, or a range {min, max, step}, whose step is 1 unless given."""
    width: Widths | None = None
    """Inner channels, a choice of their own, written like `out`. Give either this or `expansion`."""
    expansion: Expansions | None = None
    """Inner channels over `out`: a value or a list. Give either this or `width`."""
    multiple: Channels = 8
    """Inner channels that follow from `expansion` are rounded to a multiple of this."""

    def __post_init__(self) -> None:
        for name in ("strides", "out", "kernel", "depth", "width", "expansion"):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, _sorted_positive(values))
        if not self.block:
            raise InputError(f"block: it names no kind; choose from {', '.join(BLOCKS)}")
        for kind in self.block:
            if kind not in BLOCKS:
                raise InputError(f"block: {unknown(kind, BLOCKS)}")
        object.__setattr__(self, "block", tuple(dict.fromkeys(self.block)))
        if (self.width is None) == (self.expansion is None):
            raise InputError("give either width or expansion, not both or neither")
        check_odd(self.kernel)

    @property
    def stride(self) -> Stride:
        """The stage's only stride. Raises `InputError` where it is a choice."""
        if len(self.strides) > 1:
            raise InputError(
                f"stride: {list(self.strides)} is a choice, and one stride a stage is needed here; "
                "fix the strides, or restrict the space to a row (deepmad.search_spaces.rows)"
            )
        return self.strides[0]

    def widths(self, out: int) -> tuple[int, ...]:
        """Return the inner widths that may stand with `out`."""
        if self.width is not None:
            return self.width
        return tuple(sorted({self.expanded(expansion, out) for expansion in self.expansion or ()}))

    def expanded(self, expansion: float, out: int) -> int:
        """Return the inner width that follows from `out` by one of the expansions."""
        return expanded(expansion, out, self.multiple)


@dataclass(frozen=True)
class WidthRatio:
    """Limits on width / out where the width is a choice of its own."""

    __pydantic_config__ = _CLOSED
    min: Annotated[float, field("ratio")] = 0.0
    """The least width / out."""
    max: Annotated[float, field("ratio")] = float("inf")
    """The most width / out."""

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise InputError(f"min: {self.min:g} is above max, {self.max:g}; exchange them")


@dataclass(frozen=True)
class Rules:
    """What ties a space's widths together: `growth` bounds out / c_in of every stage."""

    __pydantic_config__ = _CLOSED
    non_decreasing: Annotated[bool, Field(strict=True)] = True
    """Whether the output channels of a stage are at least those of the stage before it."""
    growth: Annotated[float, field("growth")] | None = None
    """The output channels of a stage are at most so many times those before it; null for no bound."""
    width_ratio: WidthRatio = WidthRatio()
    """Limits on width / out of every stage whose `width` is a choice of its own."""


def expanded(expansion: float, out: int, multiple: int = 8) -> int:
    """Return expansion * out rounded to the nearest positive multiple of `multiple` (a tie upwards)."""
    return max(multiple, int(expansion * out / multiple + 0.5) * multiple)
