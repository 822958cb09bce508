"""Specs: which zoo to make, as data read from a user's YAML file."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, WithJsonSchema

from deepmad.engine.program.objectives import OBJECTIVES, ObjectiveName
from deepmad.search_spaces.architectures import Name
from deepmad.search_spaces.errors import InputError, shown, unknown
from deepmad.search_spaces.files import check_format, read_yaml, validated
from deepmad.search_spaces.ranges import check, field
from deepmad.search_spaces.units import AtLeast, Kind, bound, quantity
from deepmad.zoo.alpha import Alpha

_CLOSED = ConfigDict(extra="forbid", use_attribute_docstrings=True)
_NUMBER_OR_TEXT: dict[str, Any] = {"type": ["number", "string"]}
_QUANTITY = WithJsonSchema({"type": ["number", "string", "null"]})
_NAME = Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")
MOST_TARGETS = 1000
RANGES: dict[str, Kind] = {"relative": "number", "latency": "seconds", "throughput": "per second"}
"""What a range of targets may be of."""


def _quantity(value: Any, kind: Kind, of: str) -> float:
    """Return a quantity in SI units. Raises `InputError` for one out of the range of `of`."""
    found = quantity(value, kind, of)
    check(of, found)
    return found


def _read(kind: Kind, of: str) -> BeforeValidator:
    """Return what reads the quantity `of` with its unit; None stays None."""
    return BeforeValidator(lambda value: None if value is None else _quantity(value, kind, of))


def _read_limit(kind: Kind, of: str, *words: str) -> BeforeValidator:
    """Return what reads a limit: a quantity, `none` for no limit, or one of `words`, as it stands."""

    def read(value: Any) -> Any:
        if value is None or value == "none":
            return None
        return value if isinstance(value, str) and value in words else _quantity(value, kind, of)

    return BeforeValidator(read)


def _read_bound(of: str) -> BeforeValidator:
    """Return what reads a limit on a count as `_read_limit` does, `space` among its words; `>=6M` is one from below."""

    def read(value: Any) -> Any:
        return value if value == "space" else None if value in (None, "none") else bound(value, of)

    return BeforeValidator(read)


Seconds = Annotated[float | None, _read("seconds", "latency"), _QUANTITY]
PerSecond = Annotated[float | None, _read("per second", "throughput"), _QUANTITY]
Bytes = Annotated[float | None, _read_limit("bytes", "memory"), _QUANTITY]
Macs = Annotated[float | None, _read("count", "macs"), _QUANTITY]
Params = Annotated[float | None, _read("count", "params"), _QUANTITY]
MacsLimit = Annotated[float | Literal["space"] | None, _read_limit("count", "macs", "space"), _QUANTITY]
ParamsLimit = Annotated[float | Literal["space"] | None, _read_limit("count", "params", "space"), _QUANTITY]
ActivationsLimit = Annotated[float | AtLeast | Literal["space"] | None, _read_bound("activations"), _QUANTITY]
RhoLimit = Annotated[float | Literal["space", "auto"] | None, _read_limit("number", "rho", "space", "auto"), _QUANTITY]
GivenSeconds = Annotated[float, _read("seconds", "time_limit"), WithJsonSchema(_NUMBER_OR_TEXT)]


@dataclass(frozen=True)
class Build:
    """How this machine's table is measured where there is none yet: `minutes` at the most."""

    __pydantic_config__ = _CLOSED
    minutes: Annotated[float, field("minutes")] = 10.0
    """The most minutes of measuring."""


@dataclass(frozen=True)
class Device:
    """A device by the name that files and figures get, and its latency table.

    Without `table` it is this machine, with its own table from the user's data folder; with `build` a table that is
    missing is measured first. `backend`, `precision`, `batch` and `threads` choose among the tables in a file. Networks
    are timed on it where `measure` says so, by default as the spec's `verify.measure`.
    """

    __pydantic_config__ = _CLOSED
    name: Annotated[Name, _NAME]
    """The name that files and figures get: small letters, digits and _."""
    table: Annotated[str, Field(min_length=1)] | None = None
    """A latency table's file, from the spec's folder on; null for this machine's own."""
    build: Build | None = None
    """Measures the table where there is none yet."""
    backend: str | None = None
    """What runs the networks, e.g. onnxruntime or openvino; null for the table's."""
    precision: str | None = None
    """fp32, fp16, bf16 or int8; null for the table's."""
    batch: Annotated[int, field("batch")] | None = None
    """Images in one batch; null for the table's."""
    threads: Annotated[int, field("threads")] | None = None
    """Threads of the back end on a CPU; null for the table's."""
    measure: Annotated[bool, Field(strict=True)] | None = None
    """Whether networks are timed on it; null for what `verify` says."""


@dataclass(frozen=True)
class Target:
    """One target: seconds for one batch, images a second, or a multiple of the throughput without a target."""

    __pydantic_config__ = _CLOSED
    latency: Seconds = None
    """Time of one batch, e.g. 20ms."""
    throughput: PerSecond = None
    """Images a second, e.g. 50/s."""
    relative: Annotated[float, field("relative")] | None = None
    """So many times the throughput of the best network without a target."""

    def __post_init__(self) -> None:
        if sum(value is not None for value in (self.latency, self.throughput, self.relative)) != 1:
            raise InputError("give one of latency, throughput and relative")

    def seconds(self, batch: int, throughput: float | None) -> float:
        """Return the target in seconds for one batch, `throughput` being that of the design without a target."""
        if self.latency is not None:
            return self.latency
        if self.throughput is not None:
            return batch / self.throughput
        assert throughput is not None, "a relative target comes with a design without one"
        assert self.relative is not None, "as checked above"
        return batch / (self.relative * throughput)


def _target(value: Any) -> Any:
    """Read `20ms` as a latency, `50/s` as a throughput."""
    if isinstance(value, dict | Target):
        return value
    if isinstance(value, str) and value.strip().endswith("/s"):
        return Target(throughput=_quantity(value, "per second", "throughput"))
    return Target(latency=_quantity(value, "seconds", "latency"))


def _targets(value: Any) -> Any:
    """Read `{relative: ...}`, `{latency: ...}` or `{throughput: ...}`, a range or a list of them, as a list."""
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or (name := next(iter(value))) not in RANGES:
        raise InputError(
            f"{', '.join(map(str, value)) or 'nothing'}: targets are a list like [20ms, 50/s], or a range like "
            "{relative: {from: 1.1, to: 4, count: 6}} or {latency: {from: 10ms, to: 40ms, count: 5}}"
        )
    asked = value[name]
    return [{name: one} for one in (_steps(asked, name) if isinstance(asked, dict) else _listed(asked, name))]


def _listed(asked: Any, name: str) -> list[Any]:
    if not isinstance(asked, list):
        raise InputError(f"{name}: {shown(asked)} is neither a list nor a range with from, to and count")
    return asked


def _steps(span: dict[str, Any], name: str) -> Iterator[float]:
    """Yield the targets of a range: each is the one before times the same factor, to four digits."""
    if set(span) != {"from", "to", "count"}:
        raise InputError(f"{name}: {shown(span)} is no range; it has from, to and count")
    first, last = (quantity(span[end], RANGES[name], f"{name}: {end}") for end in ("from", "to"))
    count = span["count"]
    whole = isinstance(count, int) and not isinstance(count, bool)
    if not (first <= last and whole and 1 <= count <= MOST_TARGETS):
        raise InputError(f"{name}: {shown(span)} needs from <= to, and a count from 1 to {MOST_TARGETS}")
    for step in range(count):
        yield float(f"{first * (last / first) ** (step / max(1, count - 1)):.4g}")


@dataclass(frozen=True)
class Limits:
    """The limits beside the targets: the space's own by default (`space`), None for none.

    That on activations may be one from below, like `>=6M`; that on rho the usual one of the block kinds (`auto`).
    """

    __pydantic_config__ = _CLOSED
    macs: MacsLimit = "space"
    """Multiply-accumulates an image, e.g. 1.8G; `space` for the space's own limit, `none` for no limit."""
    params: ParamsLimit = "space"
    """Parameters, e.g. 11M; `space` for the space's own limit, `none` for no limit."""
    activations: ActivationsLimit = "space"
    """Output elements of main-path layers an image, e.g. 3M or '>=6M'; `space` and `none` as above."""
    rho: RhoLimit = "space"
    """Depth over width, e.g. 0.3; `space` and `none` as above."""
    memory: Bytes = None
    """Peak activations of one batch, e.g. 64MB."""


def _objective(value: Any) -> Any:
    if value not in OBJECTIVES:
        raise InputError(unknown(value, OBJECTIVES))
    return value


@dataclass(frozen=True)
class SolverSettings:
    """How every network is designed; the names and defaults are those of the options of `deepmad design`.

    `workers` are the cores of one solve, by default the machine's shared among the solves that run at a time.
    """

    __pydantic_config__ = _CLOSED
    time_limit: GivenSeconds = 60.0
    """The most time of one solve, e.g. 60s."""
    deterministic_limit: Annotated[float, field("deterministic_limit")] | None = None
    """The most work of one solve in deterministic units, in the place of time."""
    gap: Annotated[float, field("gap")] = 0.01
    """The relative gap at which a solve stops; 0.01 is 1 %."""
    seed: Annotated[int, field("seed")] = 0
    """Seed of all random choices."""
    workers: Annotated[int, field("workers")] | None = None
    """Cores of one solve; null for the machine's, shared among the solves that run at a time."""
    objective: Annotated[ObjectiveName, BeforeValidator(_objective)] = "paper"
    """The objective: the paper's, or that of the published code (`reference`)."""
    alpha: Alpha = None
    """The weights of the scales: `uniform`, `last`, or a list of numbers; null for the space's."""
    classes: Annotated[int, field("classes")] | None = None
    """Classes; null for the space's."""
    resolution: Annotated[int, field("resolution")] | None = None
    """Side of the input in pixels; null for the space's."""
    multiple: Annotated[int, field("multiple")] | None = None
    """Only channels that are multiples of this; null for the space's own steps."""


@dataclass(frozen=True)
class Verify:
    """Whether networks are timed and designed again, in how many rounds at most, each timed for `seconds`."""

    __pydantic_config__ = _CLOSED
    measure: Annotated[bool, Field(strict=True)] = True
    """Whether networks are timed, and designed again until they meet their targets."""
    rounds: Annotated[int, field("rounds")] = 6
    """The most rounds for one target."""
    seconds: GivenSeconds = 1.0
    """How long one measurement takes, e.g. 1s."""


@dataclass(frozen=True)
class Reference:
    """A network to stand beside the zoo: one that is at hand (`model`), or a figure that somebody published.

    `model` is an architecture or solution file, `timm:NAME` or `torchvision:NAME`. A figure is of one `device` of the
    spec: `latency` for one of its batches, or `throughput`.
    """

    __pydantic_config__ = _CLOSED
    name: Annotated[Name, Field(min_length=1)]
    """What it is called in the report."""
    model: str | None = None
    """An architecture or solution file, timm:NAME or torchvision:NAME, which is timed."""
    device: str | None = None
    """The device of a published figure, one of the spec's."""
    latency: Seconds = None
    """Its published time of one batch, e.g. 20ms."""
    throughput: PerSecond = None
    """Its published images a second, e.g. 50/s."""
    macs: Macs = None
    """Its multiply-accumulates an image, e.g. 1.8G."""
    params: Params = None
    """Its parameters, e.g. 11M."""
    note: str | None = None
    """A remark that stands beside it."""

    def __post_init__(self) -> None:
        if self.model is not None:
            if (self.latency, self.throughput, self.device) != (None, None, None):
                raise InputError(f"{self.name}: a model is timed; leave latency, throughput and device out")
            if not re.search(r"\.json(#\d+)?$|^(timm|torchvision):", self.model):
                raise InputError(
                    f"{self.model}: give an architecture or solution file (.json), timm:NAME or torchvision:NAME"
                )
        elif self.device is None or (self.latency is None) == (self.throughput is None):
            raise InputError(f"{self.name}: give a model, or a device with either a latency or a throughput")


def _reference(value: Any) -> Any:
    """Read a bare text as a model; a file's own name, without the ending, is what it is called."""
    if not isinstance(value, str):
        return value
    return Reference(name=Path(value).stem if value.endswith(".json") else value, model=value)


def _listed_names(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_OR_TEXT: dict[str, Any] = {"type": ["string", "object"]}
_NAMES: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_listed_names), WithJsonSchema(_NAMES)]
GivenReference = Annotated[Reference, BeforeValidator(_reference), WithJsonSchema(_OR_TEXT)]
_TARGET = {"anyOf": [_NUMBER_OR_TEXT, {"type": "object"}]}
_SPAN = {
    "type": "object",
    "properties": {"from": _NUMBER_OR_TEXT, "to": _NUMBER_OR_TEXT, "count": {"type": "integer", "minimum": 1}},
    "required": ["from", "to", "count"],
    "additionalProperties": False,
}
_RANGES = [
    {
        "type": "object",
        "properties": {name: {"anyOf": [{"type": "array", "items": _NUMBER_OR_TEXT, "minItems": 1}, _SPAN]}},
        "required": [name],
        "additionalProperties": False,
    }
    for name in RANGES
]
_TARGETS_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "array", "items": _TARGET, "minItems": 1}, *_RANGES]}
Targets = Annotated[
    tuple[Annotated[Target, BeforeValidator(_target)], ...],
    Field(min_length=1, max_length=MOST_TARGETS),
    BeforeValidator(_targets),
    WithJsonSchema(_TARGETS_SCHEMA),
]


@dataclass(frozen=True)
class Spec:
    """A zoo: every space on every device for every target. Raises `InputError` where two devices have one name."""

    __pydantic_config__ = _CLOSED
    spaces: Names
    """A preset or a space's file, or a list of them."""
    devices: Annotated[tuple[Device, ...], Field(min_length=1)]
    """The devices that networks are designed for."""
    targets: Targets
    """A list like [20ms, 50/s], or a range like {relative: {from: 1.1, to: 4, count: 6}}."""
    title: str | None = None
    """The report's title."""
    limits: Limits = Limits()
    """The limits beside the targets."""
    solver: SolverSettings = SolverSettings()
    """How every network is designed."""
    verify: Verify = Verify()
    """Whether and how networks are timed."""
    references: tuple[GivenReference, ...] = ()
    """Networks to stand beside the zoo."""

    def __post_init__(self) -> None:
        names = [device.name for device in self.devices]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"devices: {names.count(name)} are called {name}; give each a name of its own")
        for index, reference in enumerate(self.references):
            if reference.device is not None and reference.device not in names:
                raise InputError(f"references[{index}].device: {unknown(reference.device, names)}")

    def measures(self, device: Device) -> bool:
        """Whether networks are timed on a device."""
        return self.verify.measure if device.measure is None else device.measure

    @property
    def relative(self) -> bool:
        """Whether a target is a multiple of the throughput without one."""
        return any(target.relative is not None for target in self.targets)


ADAPTER: TypeAdapter[Spec] = TypeAdapter(Spec)


@dataclass(frozen=True)
class SpecFile:
    """A spec with the file it was read from and its document as it stands there; paths in it start at its folder."""

    path: Path
    document: dict[str, Any]
    spec: Spec

    def place(self, name: str) -> Path:
        """Return the path of a file that the spec names."""
        return self.path.parent / name


def load_spec(path: str | Path) -> SpecFile:
    """Return the spec in a YAML file. Raises `InputError` with the path of the first offending key."""
    path = Path(path)
    document = read_yaml(path)
    check_format(document, "zoo", str(path))
    spec = validated(ADAPTER, {key: value for key, value in document.items() if key != "format"}, str(path))
    return SpecFile(path, document, spec)
