"""Spaces: which networks may be built, as data read from a preset or from a user's YAML file."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from dataclasses import field as dataclass_field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from deepmad.search_spaces.architectures import (
    MOST_NAME,
    MOST_STAGES,
    Architecture,
    Channels,
    Classes,
    Resolution,
    Stage,
    Tail,
    check_odd,
    check_sides,
)
from deepmad.search_spaces.choices import Rules, StageSpace, StemSpace
from deepmad.search_spaces.consistency import check_rules, check_size
from deepmad.search_spaces.errors import InputError, near, shown, unknown
from deepmad.search_spaces.files import check_format, read_yaml, validated
from deepmad.search_spaces.ranges import check, field
from deepmad.search_spaces.units import AtLeast, bound, quantity
from deepmad.search_spaces.yaml_documents import parsed_yaml

AlphaWord = Literal["uniform", "last"]
ALPHA_WORDS: tuple[AlphaWord, ...] = get_args(AlphaWord)
"""Weights of the scales in a word: all alike, or the last scale alone."""
_CLOSED = ConfigDict(extra="forbid", use_attribute_docstrings=True)
MOST_DESCRIPTION = 1000
"""Characters of a description."""
LEAST_WEIGHT = 1e-6
"""The largest entry of alpha is at least this; with less there is no entropy to maximise."""


def _limit(kind: Literal["count", "number"], name: str) -> BeforeValidator:
    return BeforeValidator(lambda value: None if value is None else quantity(value, kind, name))


_QUANTITY = WithJsonSchema({"type": ["number", "string", "null"]})
_BOUND = BeforeValidator(lambda value: None if value is None else bound(value, "activations"))


@dataclass(frozen=True)
class SpaceLimits:
    """The limits a space brings along; None is no limit. That on activations may be one from below, like `>=6M`."""

    __pydantic_config__ = _CLOSED
    rho: Annotated[float | None, _limit("number", "rho"), _QUANTITY] = None
    """The most depth over width, which keeps a deep network trainable (DeepMAD's effectiveness), e.g. 0.3."""
    macs: Annotated[float | None, _limit("count", "macs"), _QUANTITY] = None
    """The most multiply-accumulates for one image, e.g. 1.82G."""
    params: Annotated[float | None, _limit("count", "params"), _QUANTITY] = None
    """The most parameters, e.g. 11.69M."""
    activations: Annotated[float | AtLeast | None, _BOUND, _QUANTITY] = None
    """The most output elements of main-path layers for one image, e.g. 3M; '>=6M' is the least."""

    def __post_init__(self) -> None:
        for name in ("rho", "macs", "params", "activations"):
            if (value := getattr(self, name)) is not None:
                check(name, value.value if isinstance(value, AtLeast) else value)


@dataclass(frozen=True)
class Space:
    """A set of networks, with the objective's weights and the limits that come with it.

    `alpha` holds one weight a scale and defaults to (1, ..., 1, 8). Where strides are a choice it stays None unless
    given, for the default then goes by the number of scales that a network has.
    """

    __pydantic_config__ = _CLOSED
    name: Annotated[str, Field(min_length=1, max_length=MOST_NAME, pattern=r"^[^/\\\x00-\x1f\x7f]+$")]
    """The space's name; networks and tables are named by it."""
    resolution: Resolution
    """Side of the input in pixels."""
    stem: StemSpace
    """The first convolution's choices."""
    stages: Annotated[tuple[StageSpace, ...], Field(min_length=1, max_length=MOST_STAGES)]
    """The choices of every stage, from the first to the last."""
    in_channels: Channels = 3
    """Channels of the input."""
    tail: Tail | None = None
    """A convolution after the last stage; null for none."""
    classes: Classes = 1000
    """Outputs of the classifier; 0 is a backbone without one."""
    rules: Rules = Rules()  # noqa: RUF009 - it is frozen
    """What ties the widths together."""
    alpha: tuple[Annotated[float, field("alpha")], ...] | None = None
    """Weights of the scales' entropies in the objective, one a scale; null for 1, ..., 1, 8."""
    beta: Annotated[float, field("beta")] = 10.0
    """Weight of the penalty on uneven depths in the paper's objective."""
    limits: SpaceLimits = SpaceLimits()
    """Limits that hold unless a design asks for others."""
    description: Annotated[str, Field(max_length=MOST_DESCRIPTION)] | None = dataclass_field(
        default=None, compare=False
    )
    """A sentence for people: what the space is, and where it is from."""

    def __post_init__(self) -> None:
        check("resolution", self.resolution)
        check("classes", self.classes)
        check("channels", self.in_channels, "in_channels")
        check("beta", self.beta)
        if self.alpha is not None:
            _check_weights(self.alpha)
        check_odd([self.tail.kernel] if self.tail else [], "tail.")
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

    def __repr__(self) -> str:
        kinds = ", ".join(dict.fromkeys(kind for stage in self.stages for kind in stage.block))
        size = networks_told(self.size())
        return f"<Space {self.name}: {len(self.stages)} stages of {kinds}, input {self.resolution}, {size}>"

    @property
    def identity(self) -> str:
        """A text that two spaces share where they offer the same; the description does not count."""
        return repr(asdict(replace(self, description=None)))

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

    def reweighted(self, *, alpha: tuple[float, ...] | AlphaWord | None = None, beta: float | None = None) -> "Space":
        """Return the space with other objective weights; None keeps them.

        Raises `InputError`, also for a word where the number of scales is a choice.
        """
        if isinstance(alpha, str):
            if len(counts := replace(self, alpha=None).scale_counts) > 1:
                raise InputError(
                    f"alpha: {alpha} needs one number of scales, and the strides allow {', '.join(map(str, counts))}; "
                    "give the weights themselves, which choose the number, or fix the strides"
                )
            alpha = weights_by(alpha, counts[0])
        return replace(self, alpha=alpha or self.alpha, beta=self.beta if beta is None else beta)

    def size(self) -> float:
        """Return the number of networks before the rules, as a float (it is often above 2^64)."""
        total = float(len(self.stem.out))
        for stage in self.stages:
            inner = len(stage.width or stage.expansion or ())
            kinds = len(stage.block) * len(stage.strides)
            total *= kinds * len(stage.out) * inner * len(stage.kernel) * len(stage.depth)
        return total

    def check_size(self) -> None:
        """Raise `InputError` where the largest network is beyond what a file holds, or numbers count exactly."""
        check_size(self.in_channels, self.resolution, self.stem, self.stages, self.tail, self.classes)

    def violations(self, network: Architecture) -> list[str]:
        """Return, a sentence each, why `network` is not a member of this space; empty where it is one."""
        return list(_violations(self, network))


def networks_told(size: float) -> str:
    """Return how many networks a space has, rounded: `5e+16 networks`."""
    return f"{size:,.0f} networks" if size < 1e6 else f"{size:.0e} networks"


def _check_weights(alpha: tuple[float, ...]) -> None:
    """Raise `InputError` unless the weights of the scales can be maximised by."""
    for index, weight in enumerate(alpha):
        check("alpha", weight, f"alpha[{index}]")
    if max(alpha, default=1.0) < LEAST_WEIGHT:
        raise InputError(
            f"alpha: {', '.join(f'{weight:g}' for weight in alpha)} leaves no entropy to maximise; "
            f"give one of {LEAST_WEIGHT:g} or more"
        )


def default_alpha(scales: int) -> tuple[float, ...]:
    """Return DeepMAD's weights for so many scales: (1, ..., 1, 8)."""
    return (1.0,) * (scales - 1) + (8.0,)


def weights_by(word: AlphaWord, scales: int) -> tuple[float, ...]:
    """Return the weights of so many scales that a word stands for. Raises `InputError` for another word."""
    if word not in ALPHA_WORDS:
        raise InputError(f"alpha: {unknown(word, ALPHA_WORDS)}")
    return (1.0 if word == "uniform" else 0.0,) * (scales - 1) + (1.0,)


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


def is_space_name(name: str | Path) -> bool:
    """Return whether a name is a preset's or that of a YAML file, or that of nothing that is there."""
    path = Path(name)
    return str(name) in presets() or path.suffix in (".yaml", ".yml") or (not path.suffix and not path.exists())


def require_network(name: str | Path) -> None:
    """Raise `InputError`, with the command, for a preset or a space's file where a network is wanted."""
    if str(name) in presets():
        raise InputError(f"{name}: it is a preset; design a network first: deepmad design {name} -o solution.json")


def load_space(name_or_path: str | Path) -> Space:
    """Return a preset by its name, or the space in a YAML file.

    Raises `InputError` for an unknown preset, a missing file, or the first offending key.
    """
    if not isinstance(name_or_path, str | Path):
        raise InputError(f"{shown(name_or_path)} is no name and no path; presets: {', '.join(presets())}")
    text = str(name_or_path)
    if text in presets():
        source = resources.files("deepmad.search_spaces") / "presets" / f"{text}.yaml"
        return parse_space(source.read_text(encoding="utf-8"), text)
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        question = near(text, presets())
        raise InputError(
            f"{text!r} is no preset and no file{question}; presets: {', '.join(presets())}; or give a .yaml file"
        )
    return _space(read_yaml(path), text)


def parse_space(text: str, source: str) -> Space:
    """Return the space of a YAML text; `source` is what errors call it. Raises `InputError`."""
    return _space(parsed_yaml(text, source), source)


def _space(document: Any, source: str) -> Space:
    """Return the space of a document. Raises `InputError`, where its rules leave no network too."""
    check_format(document, "space", source)
    space = validated(ADAPTER, {key: value for key, value in document.items() if key != "format"}, source)
    try:
        check_rules(space.rules, space.stem, space.stages)
        space.check_size()
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    return space
