"""What is designed: spaces that are wide, long, of many kinds or tiny, and what else takes time beside the solve."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import yaml

KINDS = ("bottleneck", "mbconv", "mbconv_se", "basic")
LIMITS = {"rho": 0.3, "macs": "4G", "params": "25M"}
HALVINGS = 4
"""Stages of stride 2: a picture of 224 pixels, halved by the stem, takes no more."""
SHORT = 10.0
"""The limit of most designs, in seconds."""
PER_KIND = 3
"""Random inputs of each kind."""

Span = tuple[int, int, int]
"""The least and the largest value of a choice, and the step between its values."""
Ends = tuple[int, int]
"""Between what the largest value of a choice is drawn."""


@dataclass(frozen=True)
class Input:
    """A design: a preset's name or a space's document, the options, and the limit in seconds.

    `table` says that the options name a latency table, made from invented times of a grid of convolutions.
    """

    name: str
    space: str | dict[str, Any]
    options: tuple[str, ...] = ()
    seconds: float = SHORT
    table: bool = False

    def command(self, folder: Path) -> list[str]:
        """Return the words of the command line, its files written to `folder`."""
        space = self.space
        if not isinstance(space, str):
            space = str(folder / f"{self.name}.yaml")
            Path(space).write_text(yaml.safe_dump(self.space), encoding="utf-8")
        return ["design", space, *self.options, "--time-limit", f"{self.seconds:g}"]


def space(
    name: str,
    stages: int,
    *,
    out: Span = (8, 512, 8),
    width: Span = (8, 512, 8),
    kinds: Sequence[str] = KINDS[:1],
    kernels: Sequence[int] = (3,),
    depth: int = 10,
    open_strides: bool = False,
) -> dict[str, Any]:
    """Return the document of a space of 224 pixels whose stages have the same choices, with the usual limits."""
    spans = {"out": out, "width": width, "depth": (1, depth, 1)}
    choices = {key: dict(zip(("min", "max", "step"), span, strict=True)) for key, span in spans.items()}
    halved = {round((place + 1) * stages / (HALVINGS + 1)) for place in range(HALVINGS)}
    return {
        "format": "deepmad/space@1",
        "name": name,
        "resolution": 224,
        "stem": {"out": {"min": 8, "max": 64}},
        "stages": [
            {
                "block": list(kinds),
                "stride": [1, 2] if open_strides else 2 if index in halved else 1,
                "kernel": list(kernels),
                **choices,
            }
            for index in range(stages)
        ],
        "limits": LIMITS,
    }


def named_inputs() -> Iterator[Input]:
    """Yield the designs that were seen to miss their limit, and one like each."""
    wide = space("wide", 10, out=(8, 8000, 8), width=(8, 8000, 8), kernels=(3, 5))
    yield Input("wide", wide)
    yield Input("wide-cpsat", wide, ("--solver", "cpsat"))
    yield Input("wide-three", space("wide-three", 3, out=(8, 8000, 8), width=(8, 8000, 8), kernels=(3, 5)))
    kinds = space("kinds", 10, out=(8, 2000, 8), width=(8, 2000, 8), kinds=KINDS, kernels=(3, 5, 7), depth=30)
    yield Input("kinds", kinds)
    for stages in (100, 200):
        yield Input(f"long-{stages}", space(f"long-{stages}", stages, out=(8, 256, 8), width=(8, 128, 8)))
    rows = space("rows", 10, out=(16, 2048, 8), width=(8, 1024, 8), kinds=KINDS, kernels=(3, 5), open_strides=True)
    yield Input("rows", rows, ("--solver", "rows"))
    yield Input("top", "r18", ("--top", "1000", "--gap", "0.1"), 30.0)
    yield Input("ten", ten(), (), 90.0)


def ten() -> dict[str, Any]:
    """Return the space of ten stages of four kinds that branch and price was slowest with."""
    choices = {"out": {"min": 16, "max": 2048}, "width": {"min": 8, "max": 1024}, "depth": {"min": 1, "max": 40}}
    return {
        "format": "deepmad/space@1",
        "name": "ten",
        "resolution": 256,
        "stem": {"out": {"min": 8, "max": 64}},
        "stages": [
            {"block": list(KINDS), "stride": 1 + index % 2, "kernel": [3, 5, 7], **choices} for index in range(10)
        ],
        "tail": {"out": 1280},
        "rules": {"growth": 4, "width_ratio": {"min": 0.1, "max": 4}},
        "limits": LIMITS,
    }


def random_inputs(seed: int) -> Iterator[Input]:
    """Yield `PER_KIND` random designs of each kind; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    for kind, draw in _DRAWN.items():
        for number in range(1, PER_KIND + 1):
            name = f"{kind}-{number}"
            yield replace(draw(rng, name), name=name)


def _channels(rng: np.random.Generator, out: Ends, width: Ends | None = None) -> dict[str, Any]:
    """Return choices of channels up to random widths between two ends, evenly in their logarithm."""
    ends = {"out": out, "width": width or out}
    return {
        name: (8, 8 * round(float(np.exp(rng.uniform(np.log(low), np.log(high)))) / 8), 8)
        for name, (low, high) in ends.items()
    }


def _some(rng: np.random.Generator, values: Sequence[Any], least: int) -> list[Any]:
    """Return some of the values, in their order."""
    chosen = rng.choice(len(values), int(rng.integers(least, len(values) + 1)), replace=False)
    return [values[place] for place in sorted(chosen.tolist())]


def _wide(rng: np.random.Generator, name: str) -> Input:
    spans = _channels(rng, (1000, 8000))
    return Input(name, space(name, int(rng.integers(5, 9)), kernels=_some(rng, (3, 5, 7), 1), **spans))


def _long(rng: np.random.Generator, name: str) -> Input:
    stages, spans = int(rng.integers(30, 101)), _channels(rng, (64, 512), (32, 256))
    return Input(name, space(name, stages, kinds=_some(rng, KINDS, 1), depth=int(rng.integers(1, 6)), **spans))


def _of_kinds(rng: np.random.Generator, name: str) -> Input:
    spans = _channels(rng, (200, 2000))
    stages, depth = int(rng.integers(6, 13)), int(rng.integers(5, 31))
    return Input(name, space(name, stages, kinds=KINDS, kernels=_some(rng, (3, 5, 7), 2), depth=depth, **spans))


def _open(rng: np.random.Generator, name: str) -> Input:
    stages, spans = int(rng.integers(5, 13)), _channels(rng, (100, 1000))
    return Input(name, space(name, stages, kinds=_some(rng, KINDS, 2), open_strides=True, **spans))


def _tiny(rng: np.random.Generator, name: str) -> Input:
    kinds = _some(rng, KINDS, 1)
    return Input(name, space(name, 5, out=(16, 32, 16), width=(8, 16, 8), kinds=kinds, depth=int(rng.integers(1, 4))))


def _infeasible(rng: np.random.Generator, name: str) -> Input:
    limits = (("--macs", "1M"), ("--params", "20k"), ("--macs", "60M", "--params", ">=20M"))
    kinds = _some(rng, KINDS, 1)
    return Input(name, space(name, int(rng.integers(5, 11)), kinds=kinds), limits[int(rng.integers(len(limits)))])


def _top(rng: np.random.Generator, name: str) -> Input:
    gap, count = str(rng.choice(["0.02", "0.05", "0.2"])), str(rng.choice([3, 30, 300, 1000]))
    if rng.random() < 0.5:
        return Input(name, str(rng.choice(["r18", "r50", "mbv2"])), ("--top", count, "--gap", gap))
    kinds = space(name, 8, kinds=KINDS, depth=6)
    return Input(name, kinds, ("--top", count, "--gap", gap))


def _evolution(rng: np.random.Generator, name: str) -> Input:
    drawn = _wide(rng, name) if rng.random() < 0.5 else _of_kinds(rng, name)
    return replace(drawn, options=("--solver", "evolution"))


def _front(rng: np.random.Generator, name: str) -> Input:
    drawn = _long(rng, name) if rng.random() < 0.5 else _of_kinds(rng, name)
    return replace(drawn, options=("--front", str(rng.choice(["macs", "params", "activations"]))))


def _timed(rng: np.random.Generator, name: str) -> Input:
    drawn = _of_kinds(rng, name)
    batch = int(rng.choice([1, 64]))
    options = ("--batch", str(batch), "--throughput", f"{int(rng.integers(200, 2000))}/s", "--force")
    return replace(drawn, options=options, table=True)


_DRAWN: dict[str, Callable[[np.random.Generator, str], Input]] = {
    "wide": _wide,
    "long": _long,
    "kinds": _of_kinds,
    "strides": _open,
    "tiny": _tiny,
    "infeasible": _infeasible,
    "top": _top,
    "evolution": _evolution,
    "front": _front,
    "table": _timed,
}


def convolution_times() -> str:
    """Return the lines of a TinyNAS table of an invented device, for batches of 1 and 64 images: a roofline."""
    channels, sides, lines = (8, 64, 512, 2048), (7, 28, 112, 224), []
    for kind, batch, inputs, outputs, side, kernel, stride in product(
        ("Regular", "Depthwise"), (1, 64), channels, channels, sides, (1, 3, 5), (1, 2)
    ):
        if stride > side or (kind == "Depthwise" and (inputs != outputs or kernel == 1)):
            continue
        fan_in = kernel**2 if kind == "Depthwise" else inputs * kernel**2
        places = (side // stride) ** 2
        milliseconds = batch * (fan_in * outputs * places / 1e10 + (inputs * side**2 + outputs * places) / 1e8) + 0.005
        lines.append(f"{{{kind},{batch},{inputs},{side},{side},{outputs},{kernel},{stride},0}} {milliseconds:.6f}")
    return "\n".join(lines) + "\n"
