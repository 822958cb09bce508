"""Probes: the networks whose measured times a latency table is fitted on, drawn from a space."""

from dataclasses import dataclass, replace

import numpy as np

from deepmad.search_spaces.architectures import Architecture, Stage, Stem
from deepmad.search_spaces.choices import Rules, StageSpace
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import total_macs, total_params
from deepmad.search_spaces.rows import Layouts, with_strides
from deepmad.search_spaces.spaces import Space

_ATTEMPTS = 500
_BISECTIONS = 14
PARAMS_SLACK = 1.4
"""Probes may have this many times the space's parameters: networks under a latency limit are often wide."""


@dataclass(frozen=True)
class _Sketch:
    """A stage without its scale: everything drawn but the channels, which follow from `level` times a scale."""

    block: str
    kernel: int
    depth: int
    level: float
    narrowness: float


def at_resolution(space: Space, resolution: int) -> Space:
    """Return the space for inputs of another side; its limit on MACs grows with their area.

    Raises `InputError` for a side that the strides cannot halve.
    """
    macs = space.limits.macs
    scaled = None if macs is None else macs * (resolution / space.resolution) ** 2
    return replace(space, resolution=resolution, limits=replace(space.limits, macs=scaled))


def random_network(
    space: Space,
    rng: np.random.Generator,
    *,
    low: float = 0.1,
    high: float = 1.0,
    params_slack: float = 1.0,
    block: str | None = None,
) -> Architecture:
    """Return a random member of `space` with `low` to `high` times its MACs limit; rho is not limited.

    The target is uniform between the two. Depths are log-uniform, channels rise log-uniformly from stage
    to stage and are scaled by bisection until the target is met; without a MACs limit the scale is random.
    `params_slack` multiplies the limit on parameters. `block` fixes the block kind where a stage offers it.
    Strides that are a choice are drawn too. Raises `InputError` where the space seems to hold no such network.
    """
    for _ in range(_ATTEMPTS):
        chosen = _laid_out(space, rng)
        sketches = _sketches(space, rng, block)
        network = _at_share(chosen, sketches, rng.uniform(low, high)) if space.limits.macs else None
        if network is None and not space.limits.macs:
            network = _at_scale(chosen, sketches, rng.uniform(-4, 2))
        if network is not None and _fits(space, network, low, params_slack):
            return network
    raise InputError(
        f"space {space.name}: found no network with {low} to {high} times its MACs limit and its params limit "
        f"in {_ATTEMPTS} random draws; mend its limits"
    )


@dataclass(frozen=True)
class ShortKind:
    """What a short probe shows: a block kind with a kernel as one of the stages.

    `keeps_channels` gives the stage's first block as many channels as it has: then some blocks have a
    shortcut, which at stride 2 takes a pooling.
    """

    stage: int
    block: str
    kernel: int
    keeps_channels: bool


def short_kinds(space: Space) -> list[ShortKind]:
    """Return every kind of short probe that a space asks for, so that no kind of layer stays unmeasured."""
    return [
        ShortKind(index, block, kernel, keeps)
        for index, stage in enumerate(space.stages)
        for block in stage.block
        for kernel in stage.kernel
        for keeps in ((False, True) if 2 in stage.strides else (False,))
    ]


def short_network(network: Architecture, kind: ShortKind, rng: np.random.Generator) -> Architecture:
    """Return one stage of `network`, cut to four blocks, on a stem that makes its input, and a small classifier.

    Such a probe is short, so its few layers stand out in its time.
    """
    before, stage = network.stages[: kind.stage], network.stages[kind.stage]
    side = network.resolution // network.stem.stride
    for earlier in before:
        side //= earlier.stride
    channels = before[-1].out if before else network.stem.out
    depth = int(rng.integers(1, min(stage.depth, 4) + 1))
    return replace(
        network,
        name="",
        resolution=side * network.stem.stride,
        stem=replace(network.stem, out=stage.out if kind.keeps_channels else channels),
        stages=(replace(stage, block=kind.block, kernel=kind.kernel, depth=depth),),
        tail=None,
        classes=int(rng.choice([1, 10, 100, 1000])),
    )


@dataclass(frozen=True)
class Probes:
    """What is measured for a table: an anchor in every round, whole networks, and short ones."""

    anchor: Architecture
    networks: tuple[Architecture, ...]
    short: tuple[Architecture, ...]

    @property
    def count(self) -> int:
        """The number of probes."""
        return len(self.networks) + len(self.short)


def draw_probes(space: Space, seed: int, networks: int, short: int) -> Probes:
    """Return the probes of a table; the same arguments give the same ones.

    The whole networks have 0.1 to 1.05 times the MACs limit; the anchor is the one in the middle. The short
    ones go round the kinds of `short_kinds`. Every probe occurs once, so a small space may have fewer.
    Raises `InputError` where the space is empty.
    """
    rng = np.random.default_rng(seed)
    blocks = sorted({block for stage in space.stages for block in stage.block})
    whole = tuple(
        random_network(space, rng, low=0.1, high=1.05, params_slack=PARAMS_SLACK, block=blocks[index % len(blocks)])
        for index in range(networks)
    )
    kinds = short_kinds(space)
    stages = tuple(
        short_network(whole[rng.integers(len(whole))], kinds[index % len(kinds)], rng) for index in range(short)
    )
    whole, stages = tuple(dict.fromkeys(whole)), tuple(dict.fromkeys(stages))
    anchor = sorted(whole, key=lambda network: int(total_macs(network.parts())))[len(whole) // 2]
    return Probes(anchor, whole, tuple(stage for stage in stages if stage not in whole))


def _laid_out(space: Space, rng: np.random.Generator) -> Space:
    """Return the space with strides drawn from its layouts where they are a choice."""
    if space.strides_fixed:
        return space
    found = Layouts(space)
    return with_strides(space, found[int(rng.integers(found.count))])


def _sketches(space: Space, rng: np.random.Generator, block: str | None) -> tuple[float, list[_Sketch]]:
    """Draw the level of the stem, and every stage without its scale."""
    widest = np.log(max(max(stage.out) for stage in space.stages))
    narrowest = rng.uniform(min(np.log(8), widest), widest)  # some networks rise steeply, others hardly
    levels = np.sort(rng.uniform(narrowest, widest, len(space.stages) + 1))
    deepest = rng.choice([3, 6, 12, 24])
    found = []
    for stage, level in zip(space.stages, levels[1:], strict=True):
        kind = block if block in stage.block else str(rng.choice(stage.block))
        depth = np.exp(rng.uniform(0, np.log(deepest)))
        nearest = min(stage.depth, key=lambda choice, depth=depth: abs(choice - depth))  # type: ignore[misc]
        found.append(_Sketch(kind, int(rng.choice(stage.kernel)), nearest, float(np.exp(level)), float(rng.uniform())))
    return float(np.exp(levels[0])), found


def _at_share(space: Space, sketches: tuple[float, list[_Sketch]], share: float) -> Architecture | None:
    """Return the largest scaling of the sketches with at most `share` times the MACs limit."""
    assert space.limits.macs is not None
    low, high, found = -6.0, 3.0, None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        network = _at_scale(space, sketches, middle)
        if network is not None and total_macs(network.parts()) <= share * space.limits.macs:
            low, found = middle, network
        else:
            high = middle
    return found


def _at_scale(space: Space, sketches: tuple[float, list[_Sketch]], log_scale: float) -> Architecture | None:
    """Return the network whose channels are the sketches' levels times exp(log_scale), None where none fits."""
    scale = np.exp(log_scale)
    stem = Stem(_nearest(space.stem.out, sketches[0] * scale), space.stem.kernel, space.stem.stride)
    channels, stages = stem.out, []
    for choice, sketch in zip(space.stages, sketches[1], strict=True):
        outs = [out for out in choice.out if _may_follow(space.rules, channels, out) and _widths(space, choice, out)]
        if not outs:
            return None
        channels = _nearest(outs, sketch.level * scale)
        widths = _widths(space, choice, channels)
        width = _nearest(widths, widths[0] * (widths[-1] / widths[0]) ** sketch.narrowness)
        stages.append(Stage(sketch.block, channels, width, sketch.kernel, sketch.depth, choice.stride))
    return Architecture(
        space.resolution, stem, tuple(stages), space.tail, space.classes, space.in_channels, name=space.name
    )


def _may_follow(rules: Rules, channels: int, out: int) -> bool:
    grows = not rules.non_decreasing or out >= channels
    return grows and (rules.growth is None or out <= rules.growth * channels)


def _widths(space: Space, choice: StageSpace, out: int) -> list[int]:
    """Return the inner widths that the space's rules allow with `out`."""
    ratio = space.rules.width_ratio
    return [
        width for width in choice.widths(out) if choice.width is None or ratio.min * out <= width <= ratio.max * out
    ]


def _nearest(choices: list[int] | tuple[int, ...], wanted: float) -> int:
    return min(choices, key=lambda choice: abs(choice - wanted))


def _fits(space: Space, network: Architecture, low: float, params_slack: float) -> bool:
    parts = network.parts()
    enough = space.limits.macs is None or total_macs(parts) >= 0.8 * low * space.limits.macs
    return enough and (space.limits.params is None or total_params(parts) <= params_slack * space.limits.params)
