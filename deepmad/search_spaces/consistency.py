"""Whether a space holds any network by its own rules, and whether its largest network can be counted."""

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from deepmad.search_spaces.architectures import Stage, Stem, network_parts
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Part
from deepmad.search_spaces.ranges import MOST_COUNTED, RANGES
from deepmad.search_spaces.units import human

if TYPE_CHECKING:
    from deepmad.search_spaces.spaces import Rules, Space, StageSpace


def check_rules(space: "Space") -> None:
    """Raise `InputError`, naming the stage, where the space's rules leave no network, whatever the limits."""
    reached = list(space.stem.out)
    for index, stage in enumerate(space.stages):
        where = f"stages[{index}]"
        outs = [out for out in stage.out if _has_width(space.rules, stage, out)]
        if not outs:
            ratio = space.rules.width_ratio
            raise InputError(
                f"{where}: no width offered is {ratio.min:g} to {ratio.max:g} times an out offered "
                "(rules.width_ratio); offer others, or loosen the rule"
            )
        reached = [out for out in outs if _follows(space.rules, out, reached)]
        if not reached:
            raise InputError(
                f"{where}.out: none of {_span(outs)} may follow the widths before it (rules.non_decreasing, "
                "rules.growth); offer others, or loosen the rules"
            )


def _has_width(rules: "Rules", stage: "StageSpace", out: int) -> bool:
    """Whether an inner width may stand with `out`."""
    if stage.width is None:
        return True
    place = bisect_left(stage.width, rules.width_ratio.min * out)
    return place < len(stage.width) and stage.width[place] <= rules.width_ratio.max * out


def _follows(rules: "Rules", out: int, before: list[int]) -> bool:
    """Whether `out` may follow one of the widths `before`, ascending: the largest that may stand there tells."""
    fitting = before[: bisect_right(before, out)] if rules.non_decreasing else before
    return bool(fitting) and (rules.growth is None or out <= rules.growth * fitting[-1])


def _span(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def check_size(space: "Space") -> None:
    """Raise `InputError` where the largest network is beyond what a file holds, or numbers count exactly."""
    most = RANGES["channels"].most
    for index, stage in enumerate(space.stages):
        if (widest := max(stage.widths(stage.out[-1]))) > most:
            raise InputError(
                f"stages[{index}].expansion: it gives an inner width of {widest}, above {most}; lower expansion or out"
            )
    for name, found in (("MACs", _most(space, "macs")), ("parameters", _most(space, "params"))):
        if found > MOST_COUNTED:
            raise InputError(
                f"resolution: at {space.resolution} the space's largest network has {human(found, 'count')} {name}, "
                f"above the {human(MOST_COUNTED, 'count')} that are counted exactly; lower it, or the widths or depths"
            )


def _most(space: "Space", cost: str) -> int:
    """Return what a network has at most of a cost: the largest of every choice, of block kinds part by part."""
    kinds = range(max(len(stage.block) for stage in space.stages))
    rows = [[part.repeats * getattr(part.body, cost) for part in _largest(space, kind)] for kind in kinds]
    return int(sum(max(part) for part in zip(*rows, strict=True)))


def _largest(space: "Space", kind: int) -> tuple[Part, ...]:
    """Return the parts of the largest network whose blocks are the `kind`-th of each stage, or the last there."""
    stages = [
        Stage(
            block=stage.block[min(kind, len(stage.block) - 1)],
            out=stage.out[-1],
            width=max(stage.widths(stage.out[-1])),
            kernel=stage.kernel[-1],
            depth=stage.depth[-1],
            stride=stage.strides[0],
        )
        for stage in space.stages
    ]
    stem = Stem(space.stem.out[-1], space.stem.kernel, space.stem.stride)
    return network_parts(space.in_channels, space.resolution, stem, stages, space.tail, space.classes)
