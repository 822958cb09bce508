"""Spaces: which networks may be built, as data read from a preset or from a user's YAML file."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from deepmad.search_spaces.architectures import Architecture, Kernel, Stage, Stride, Tail, check_sides
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.files import check_format, parsed_yaml, read_text, validated
from deepmad.search_spaces.units import AtLeast, bound, quantity

_CLOSED = ConfigDict(extra="forbid")
_MOST_CHOICES = 100_000


def _choices(step: int) -> BeforeValidator:
    """Read a list as a choice, `{min, max, step}` as a range, a bare value as fixed."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            unknown = set(value) - {"min", "max", "step"}
            if unknown or not {"min", "max"} <= set(value):
                raise InputError(f"a range has min, max and perhaps step, not {', '.join(map(str, value)) or 'no key'}")
            low, high, stride = value["min"], value["max"], value.get("step", step)
            if not all(isinstance(item, int) for item in (low, high, stride)) or stride < 1 or low < 1:
                raise InputError(f"a range's min, max and step are positive integers, not {value}")
            if high < low or (high - low) // stride > _MOST_CHOICES:
                raise InputError(f"the range {value} is empty, or over {_MOST_CHOICES} values; mend min, max or step")
            return tuple(range(low, high + 1, stride))
        return tuple(value) if isinstance(value, list | tuple) else (value,)

    return BeforeValidator(read)


def _sorted_positive(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values or min(values) <= 0:
        raise InputError(f"needs at least one value, all of them positive, not {list(values)}")
    return tuple(sorted(set(values)))


def _schema(item: dict[str, object], *, ranges: bool = True) -> WithJsonSchema:
    """Say in JSON Schema what `_choices` reads: a value, a list of them, a range of integers."""
    limits = {key: {"type": "integer", "minimum": 1} for key in ("min", "max", "step")}
    span = {"type": "object", "properties": limits, "required": ["min", "max"], "additionalProperties": False}
    either: list[dict[str, object]] = [item, {"type": "array", "items": item, "minItems": 1}]
    return WithJsonSchema({"anyOf": [*either, span] if ranges else either})


_Int = Annotated[int, Field(strict=True)]
_POSITIVE: dict[str, object] = {"type": "integer", "minimum": 1}
Widths = Annotated[tuple[_Int, ...], _choices(8), _schema(_POSITIVE)]
Depths = Annotated[tuple[_Int, ...], _choices(1), _schema(_POSITIVE)]
Kernels = Annotated[tuple[Kernel, ...], _choices(2), _schema(_POSITIVE)]
Strides = Annotated[tuple[Stride, ...], Field(alias="stride"), _choices(1), _schema({"enum": [1, 2]}, ranges=False)]
Kinds = Annotated[tuple[str, ...], _choices(1), _schema({"enum": list(BLOCKS)}, ranges=False)]
Expansions = Annotated[
    tuple[Annotated[float, Field(gt=0, le=64)], ...],
    _choices(1),
    _schema({"type": "number", "exclusiveMinimum": 0}),
]


@dataclass(frozen=True)
class StemSpace:
    """The stem's choices."""

    __pydantic_config__ = _CLOSED
    out: Widths
    kernel: Kernel = 3
    stride: Stride = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", _sorted_positive(self.out))


@dataclass(frozen=True)
class StageSpace:
    """One stage's choices; the inner width is a choice of its own or follows from `expansion`.

    A width that follows is rounded to a multiple of `multiple`. A file's key for `strides` is `stride`.
    """

    __pydantic_config__ = _CLOSED
    block: Kinds
    strides: Strides
    out: Widths
    kernel: Kernels
    depth: Depths
    width: Widths | None = None
    expansion: Expansions | None = None
    multiple: Annotated[int, Field(strict=True, ge=1)] = 8

    def __post_init__(self) -> None:
        for name in ("strides", "out", "kernel", "depth", "width", "expansion"):
            if (values := getattr(self, name)) is not None:
                object.__setattr__(self, name, _sorted_positive(values))
        unknown = [kind for kind in self.block if kind not in BLOCKS]
        if unknown or not self.block:
            raise InputError(f"block: {', '.join(unknown) or 'nothing'} is unknown; choose from {', '.join(BLOCKS)}")
        if (self.width is None) == (self.expansion is None):
            raise InputError("give either width or expansion, not both or neither")
        if any(kernel % 2 == 0 for kernel in self.kernel):
            raise InputError(f"kernel: {list(self.kernel)} holds an even one; padding is kernel // 2")

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
    min: Annotated[float, Field(ge=0)] = 0.0
    max: Annotated[float, Field(gt=0)] = float("inf")


@dataclass(frozen=True)
class Rules:
    """What ties a space's widths together: `growth` bounds out / c_in of every stage."""

    __pydantic_config__ = _CLOSED
    non_decreasing: bool = True
    growth: Annotated[float, Field(gt=0)] | None = None
    width_ratio: WidthRatio = WidthRatio()


def _limit(kind: Literal["count", "number"], name: str) -> BeforeValidator:
    return BeforeValidator(lambda value: None if value is None else quantity(value, kind, name))


_QUANTITY = WithJsonSchema({"type": ["number", "string", "null"]})
_BOUND = BeforeValidator(lambda value: None if value is None else bound(value, "count", "activations"))


@dataclass(frozen=True)
class SpaceLimits:
    """The limits a space brings along; None is no limit. That on activations may be one from below, like `>=6M`."""

    __pydantic_config__ = _CLOSED
    rho: Annotated[float | None, _limit("number", "rho"), _QUANTITY] = None
    macs: Annotated[float | None, _limit("count", "macs"), _QUANTITY] = None
    params: Annotated[float | None, _limit("count", "params"), _QUANTITY] = None
    activations: Annotated[float | AtLeast | None, _BOUND, _QUANTITY] = None


@dataclass(frozen=True)
class Space:
    """A set of networks, with the objective's weights and the limits that come with it.

    `alpha` holds one weight a scale and defaults to (1, ..., 1, 8). Where strides are a choice it stays None unless
    given, for the default then goes by the number of scales that a network has.
    """

    __pydantic_config__ = _CLOSED
    name: Annotated[str, Field(min_length=1)]
    resolution: Annotated[int, Field(strict=True, ge=1, le=65_536)]
    stem: StemSpace
    stages: Annotated[tuple[StageSpace, ...], Field(min_length=1)]
    in_channels: Annotated[int, Field(strict=True, ge=1)] = 3
    tail: Tail | None = None
    classes: Annotated[int, Field(strict=True, ge=0)] = 1000
    rules: Rules = Rules()
    alpha: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    beta: Annotated[float, Field(ge=0)] = 10.0
    limits: SpaceLimits = SpaceLimits()

    def __post_init__(self) -> None:
        halving = sum(stage.strides == (2,) for stage in self.stages)
        check_sides(self.resolution, [self.stem.stride, *[2] * halving])
        scales = 1 + halving
        if not self.strides_fixed:
            if not self.scale_counts:
                raise InputError(
                    f"alpha: {len(self.alpha or ())} weights, but the strides and the resolution allow "
                    f"{', '.join(map(str, replace(self, alpha=None).scale_counts))} scales; give as many, or none"
                )
        elif self.alpha is None:
            object.__setattr__(self, "alpha", default_alpha(scales))
        elif len(self.alpha) != scales:
            raise InputError(
                f"alpha: {len(self.alpha)} weights for {scales} scales (one a stride 2 among the stages, "
                f"and one at the end); give {scales}"
            )

    @property
    def strides_fixed(self) -> bool:
        """Whether every stage has one stride; where not, `rows.restricted` gives spaces that have."""
        return all(len(stage.strides) == 1 for stage in self.stages)

    @property
    def scale_counts(self) -> tuple[int, ...]:
        """How many scales the networks may have, by the strides, the resolution and `alpha` where that is given."""
        least, most = (sum(stage.strides[end] == 2 for stage in self.stages) for end in (0, -1))
        fitting = [
            1 + halvings
            for halvings in range(least, most + 1)
            if self.resolution % (self.stem.stride * 2**halvings) == 0
        ]
        return tuple(count for count in fitting if self.alpha is None or len(self.alpha) == count)

    @property
    def weights(self) -> tuple[float, ...]:
        """The objective's alpha, one weight a scale. Raises `InputError` where strides are a choice."""
        return self.weights_for(1 + sum(stage.stride == 2 for stage in self.stages))

    def weights_for(self, scales: int) -> tuple[float, ...]:
        """Return the objective's alpha for a network of so many scales."""
        return default_alpha(scales) if self.alpha is None else self.alpha

    def reweighted(self, *, alpha: tuple[float, ...] | None = None, beta: float | None = None) -> "Space":
        """Return the space with other objective weights; None keeps them. Raises `InputError`."""
        return replace(self, alpha=alpha or self.alpha, beta=self.beta if beta is None else beta)

    def size(self) -> float:
        """Return the number of networks before the rules, as a float (it is often above 2^64)."""
        total = float(len(self.stem.out))
        for stage in self.stages:
            inner = len(stage.width or stage.expansion or ())
            kinds = len(stage.block) * len(stage.strides)
            total *= kinds * len(stage.out) * inner * len(stage.kernel) * len(stage.depth)
        return total

    def violations(self, network: Architecture) -> list[str]:
        """Return, a sentence each, why `network` is not a member of this space; empty where it is one."""
        return list(_violations(self, network))


def default_alpha(scales: int) -> tuple[float, ...]:
    """Return DeepMAD's weights for so many scales: (1, ..., 1, 8)."""
    return (1.0,) * (scales - 1) + (8.0,)


def expanded(expansion: float, out: int, multiple: int = 8) -> int:
    """Return expansion * out rounded to the nearest positive multiple of `multiple` (a tie upwards)."""
    return max(multiple, int(expansion * out / multiple + 0.5) * multiple)


def _violations(space: Space, network: Architecture) -> Iterator[str]:
    """Yield every way in which a network breaks the space's choices and rules."""
    if len(network.stages) != len(space.stages):
        yield f"it has {len(network.stages)} stages, the space has {len(space.stages)}"
        return
    fixed = ("in_channels", "resolution", "tail")
    yield from (f"{key} differs from the space's" for key in fixed if getattr(network, key) != getattr(space, key))
    stem = (network.stem.kernel, network.stem.stride)
    if network.stem.out not in space.stem.out or stem != (space.stem.kernel, space.stem.stride):
        yield "its stem is none of the space's"
    c_in = network.stem.out
    for index, (stage, choice) in enumerate(zip(network.stages, space.stages, strict=True)):
        yield from (f"stages[{index}].{what}" for what in _stage_violations(space.rules, choice, stage, c_in))
        c_in = stage.out
    scales = 1 + sum(stage.stride == 2 for stage in network.stages)
    if not space.strides_fixed and scales not in space.scale_counts:
        yield f"its strides give {scales} scales, the space has {', '.join(map(str, space.scale_counts))}"


def _stage_violations(rules: Rules, choice: StageSpace, stage: Stage, c_in: int) -> Iterator[str]:
    for name in ("block", "out", "kernel", "depth"):
        if getattr(stage, name) not in getattr(choice, name):
            yield f"{name} {getattr(stage, name)} is not offered"
    if stage.stride not in choice.strides:
        yield f"stride {stage.stride} is not the space's"
    if stage.width not in choice.widths(stage.out):
        yield f"width {stage.width} is not offered with out {stage.out}"
    if rules.non_decreasing and stage.out < c_in:
        yield f"out {stage.out} is below the {c_in} before it"
    if rules.growth is not None and stage.out > rules.growth * c_in:
        yield f"out {stage.out} is above {rules.growth} times the {c_in} before it"
    ratio = rules.width_ratio
    if choice.width is not None and not ratio.min * stage.out <= stage.width <= ratio.max * stage.out:
        yield f"width {stage.width} is outside {ratio.min} to {ratio.max} times out {stage.out}"


ADAPTER: TypeAdapter[Space] = TypeAdapter(Space)


def presets() -> tuple[str, ...]:
    """Return the names of the spaces that ship with the package."""
    folder = resources.files("deepmad.search_spaces") / "presets"
    return tuple(sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")))


def load_space(name_or_path: str | Path) -> Space:
    """Return a preset by its name, or the space in a YAML file.

    Raises `InputError` for an unknown preset, a missing file, or the first offending key.
    """
    text = str(name_or_path)
    if text in presets():
        source = resources.files("deepmad.search_spaces") / "presets" / f"{text}.yaml"
        return parse_space(source.read_text(encoding="utf-8"), text)
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and not path.exists():
        raise InputError(f"{text!r} is no preset and no file; presets: {', '.join(presets())}; or give a .yaml file")
    return parse_space(read_text(path), text)


def parse_space(text: str, source: str) -> Space:
    """Return the space of a YAML text; `source` is what errors call it. Raises `InputError`."""
    document = parsed_yaml(text, source)
    check_format(document, "space", source)
    return validated(ADAPTER, {key: value for key, value in document.items() if key != "format"}, source)
