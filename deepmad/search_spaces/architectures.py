"""Architectures: one network as plain data, to JSON and back, and the parts that it is made of."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from deepmad.search_spaces.blocks import BLOCKS, Shape
from deepmad.search_spaces.errors import InputError, shown, unknown
from deepmad.search_spaces.files import check_format, read_json, validated
from deepmad.search_spaces.layers import Body, Count, Layer, Part
from deepmad.search_spaces.ranges import field

_CLOSED = ConfigDict(extra="forbid", use_attribute_docstrings=True)
MOST_STAGES = 1000
MOST_NAME = 200
"""Characters of a name: files are named by it."""


def whole_number(value: Any) -> Any:
    """Return a value that is no boolean, text or decimal number, which a choice of integers would take for one."""
    if isinstance(value, bool | str | float):
        raise InputError(f"{shown(value)} is no whole number; write it without quotes and point")
    return value


Channels = Annotated[int, field("channels")]
Kernel = Annotated[int, field("kernel")]
Depth = Annotated[int, field("depth")]
Resolution = Annotated[int, field("resolution")]
Classes = Annotated[int, field("classes")]
Name = Annotated[str, Field(max_length=MOST_NAME, pattern=r"^[^\x00-\x1f\x7f]*$")]
Stride = Literal[1, 2]
GivenStride = Annotated[Stride, BeforeValidator(whole_number), WithJsonSchema({"enum": [1, 2]})]


@dataclass(frozen=True)
class Stem:
    """The first convolution, kxk with stride, from the image to `out` channels."""

    __pydantic_config__ = _CLOSED
    out: Channels
    """Output channels."""
    kernel: Kernel = 3
    """Side of its kernel, odd."""
    stride: GivenStride = 2
    """2 halves the image."""


@dataclass(frozen=True)
class Stage:
    """`depth` blocks of one kind; the first has the stride and takes the previous width to `out`."""

    __pydantic_config__ = _CLOSED
    block: str
    """Kind of the blocks: bottleneck, basic, mbconv or mbconv_se."""
    out: Channels
    """Output channels of every block."""
    width: Channels
    """Inner channels of every block."""
    kernel: Kernel
    """Side of the kernels, odd."""
    depth: Depth
    """Number of blocks."""
    stride: GivenStride
    """Stride of the first block; 2 halves the feature map."""


@dataclass(frozen=True)
class Tail:
    """The convolution between the last stage and the pooling, to `out` channels."""

    __pydantic_config__ = _CLOSED
    out: Channels
    """Output channels."""
    kernel: Kernel = 1
    """Side of its kernel, odd."""


@dataclass(frozen=True)
class Architecture:
    """A network: stem, stages, optional tail, and a classifier unless `classes` is 0.

    `resolution` is the side of the input in pixels. Raises `InputError` where the network cannot be
    built, with the path of the offending key.
    """

    __pydantic_config__ = _CLOSED
    resolution: Resolution
    """Side of the input in pixels."""
    stem: Stem
    """The first convolution."""
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, max_length=MOST_STAGES)]
    """The stages from the first to the last."""
    tail: Tail | None = None
    """A convolution after the last stage; null for none."""
    classes: Classes = 1000
    """Outputs of the classifier; 0 is a backbone without one."""
    in_channels: Channels = 3
    """Channels of the input."""
    name: Name = ""
    """A name for people; files may be named by it."""

    def __post_init__(self) -> None:
        check_odd([self.stem.kernel], "stem.")
        check_odd([self.tail.kernel] if self.tail else [], "tail.")
        for index, stage in enumerate(self.stages):
            if stage.block not in BLOCKS:
                raise InputError(f"stages[{index}].block: {unknown(stage.block, BLOCKS)}")
            check_odd([stage.kernel], f"stages[{index}].")
        check_sides(self.resolution, [self.stem.stride, *(stage.stride for stage in self.stages)])

    def parts(self) -> tuple[Part, ...]:
        """Return the parts of the network in order, from the stem to the classifier."""
        return network_parts(self.in_channels, self.resolution, self.stem, self.stages, self.tail, self.classes)

    def backbone(self) -> "Architecture":
        """Return the same network without its classifier."""
        return replace(self, classes=0)

    def to_dict(self) -> dict[str, Any]:
        """Return the architecture file's document."""
        document = asdict(self)
        order = ("name", "resolution", "in_channels", "stem", "stages", "tail", "classes")
        return {"format": "deepmad/architecture@1"} | {key: document[key] for key in order}

    @staticmethod
    def from_dict(document: Any, source: str = "architecture") -> "Architecture":
        """Return the architecture of a document; raises `InputError` naming `source` and the key."""
        check_format(document, "architecture", source)
        return validated(ADAPTER, {key: value for key, value in document.items() if key != "format"}, source)

    @staticmethod
    def load(path: str | Path) -> "Architecture":
        """Return the architecture in a file, or a solution file's: its best, or FILE#3 for its third network.

        Raises `InputError`.
        """
        file, rank = split_rank(path)
        return Architecture.from_dict(numbered(read_json(file), rank, str(path)), str(path))


def split_rank(path: str | Path) -> tuple[Path, int]:
    """Return the file that `path` names, and which of its networks: FILE#3 is the third, FILE alone the first."""
    match = re.fullmatch("(.+)#([0-9]{1,6})", str(path))
    if match is None or Path(path).exists():
        return Path(path), 1
    return Path(match[1]), int(match[2])


def numbered(document: Any, rank: int, source: str) -> Any:
    """Return the document of network number `rank` of a solution's document, or the architecture's document itself.

    Raises `InputError` that says how many networks there are.
    """
    networks = [document]
    if isinstance(document, dict) and document.get("format") == "deepmad/solution@1":
        if document.get("architecture") is None:
            raise InputError(f"{source}: this solution holds no network; see its status and message")
        others = document.get("alternatives") or []
        if not isinstance(others, list):
            raise InputError(f"{source}: alternatives: {shown(others)} is no list of networks; write the file anew")
        networks = [document["architecture"]]
        networks += [other.get("architecture") if isinstance(other, dict) else other for other in others]
    if not 1 <= rank <= len(networks):
        count = f"{len(networks)} networks, #1 to #{len(networks)}" if len(networks) > 1 else "one network"
        raise InputError(f"{source}: there is no #{rank}; the file holds {count}")
    return networks[rank - 1]


ADAPTER: TypeAdapter[Architecture] = TypeAdapter(Architecture)


def check_odd(kernels: Sequence[int], where: str = "") -> None:
    """Raise `InputError`, naming the key in `where`, for an even kernel."""
    for kernel in kernels:
        if kernel % 2 == 0:
            raise InputError(f"{where}kernel: {kernel} is even; use an odd kernel, padding is kernel // 2")


def check_sides(resolution: int, strides: Sequence[int]) -> None:
    """Raise `InputError`, naming the nearest sizes that work, where a stride 2 meets an odd side."""
    factor = 1
    for stride in strides:
        factor *= stride
    if resolution % factor:
        below, above = resolution // factor * factor, (resolution // factor + 1) * factor
        nearest = f"{below} or {above}" if below else f"{above}"
        raise InputError(
            f"resolution: {resolution} gives an odd side before a stride 2; the nearest sizes that work: {nearest}"
        )


def network_parts(
    in_channels: int, resolution: int, stem: Stem, stages: Sequence[Stage], tail: Tail | None, classes: int
) -> tuple[Part, ...]:
    """Return the parts of a network; widths, kernels and depths may be arrays, one entry a network."""
    parts, channels, side = [stem_part(in_channels, resolution, stem)], stem.out, resolution // stem.stride
    for index, stage in enumerate(stages):
        block, opening = BLOCKS[stage.block], stage.stride
        shape = Shape(channels, stage.out, stage.width, stage.kernel, opening, side)
        body = block.body(shape, first=True)
        parts.append(Part(f"stages.{index}.0", body, 1, index, ends_scale=opening == 2))
        side, channels = side // opening, stage.out
        shape = Shape(channels, channels, stage.width, stage.kernel, 1, side)
        body = block.body(shape, first=False)
        parts.append(Part(f"stages.{index}.1", body, stage.depth - 1, index))
    return (*parts, *closing_parts(channels, side, tail, classes))


def stem_part(in_channels: int, resolution: int, stem: Stem) -> Part:
    """Return the stem's part; its width may be an array."""
    layer = Layer("main", "conv", in_channels, stem.out, resolution, stem.kernel, stem.stride, activation="relu")
    return Part("stem", Body((layer,)))


def closing_parts(channels: Count, side: int, tail: Tail | None, classes: int) -> tuple[Part, ...]:
    """Return tail and classifier behind a feature map of so many channels (may be an array), where there are any."""
    parts = []
    if tail:
        layer = Layer("main", "conv", channels, tail.out, side, tail.kernel, activation="relu")
        parts.append(Part("tail", Body((layer,))))
        channels = tail.out
    if classes:
        pool = Layer("classifier", "global_pool", channels, channels, side, norm=False)
        linear = Layer("classifier", "linear", channels, classes, 1, norm=False, bias=True)
        parts.append(Part("classifier", Body((pool, linear))))
    return tuple(parts)
