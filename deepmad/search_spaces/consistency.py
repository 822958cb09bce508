"""Whether a space holds any network by its own rules, and whether its largest network can be counted."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from deepmad.search_spaces.architectures import Stage, Stem, Tail, network_parts
from deepmad.search_spaces.choices import Rules, StageSpace, StemSpace
from deepmad.search_spaces.errors import InputError
from deepmad.search_spaces.layers import Count, Part, total_macs, total_params
from deepmad.search_spaces.ranges import MOST_COUNTED, RANGES
from deepmad.search_spaces.units import human

MOST_PAIRS = 1_000_000
"""Pairs of an out and an inner width in one stage; solvers look at each."""


def check_rules(rules: Rules, stem: StemSpace, stages: Sequence[StageSpace]) -> None:
    """Raise `InputError`, naming the stage, where the rules of a space leave no network, whatever the limits."""
    reached = list(stem.out)
    for index, stage in enumerate(stages):
        where = f"stages[{index}]"
        outs = [out for out in stage.out if _has_width(rules, stage, out)]
        if not outs:
            ratio = rules.width_ratio
            raise InputError(
                f"{where}: no width offered is {ratio.min:g} to {ratio.max:g} times an out offered "
                "(rules.width_ratio); offer others, or loosen the rule"
            )
        reached = [out for out in outs if _follows(rules, out, reached)]
        if not reached:
            raise InputError(
                f"{where}.out: none of {_span(outs)} may follow the widths before it (rules.non_decreasing, "
                "rules.growth); offer others, or loosen the rules"
            )


def _has_width(rules: Rules, stage: StageSpace, out: int) -> bool:
    """Whether an inner width may stand with `out`."""
    if stage.width is None:
        return True
    place = bisect_left(stage.width, rules.width_ratio.min * out)
    return place < len(stage.width) and stage.width[place] <= rules.width_ratio.max * out


def _follows(rules: Rules, out: int, before: list[int]) -> bool:
    """Whether `out` may follow one of the widths `before`, ascending: the largest that may stand there tells."""
    fitting = before[: bisect_right(before, out)] if rules.non_decreasing else before
    return bool(fitting) and (rules.growth is None or out <= rules.growth * fitting[-1])


def _span(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def check_size(
    in_channels: int, resolution: int, stem: StemSpace, stages: Sequence[StageSpace], tail: Tail | None, classes: int
) -> None:
    """Raise `InputError` where a space's largest network is beyond what a file holds, or numbers count exactly."""
    most = RANGES["channels"].most
    for index, stage in enumerate(stages):
        if (pairs := len(stage.out) * len(stage.width or stage.expansion or ())) > MOST_PAIRS:
            raise InputError(
                f"stages[{index}]: out and width make {pairs:,} pairs, above {MOST_PAIRS:,}; give a larger step"
            )
        if (widest := max(stage.widths(stage.out[-1]))) > most:
            raise InputError(
                f"stages[{index}].expansion: it gives an inner width of {widest}, above {most}; lower expansion or out"
            )
    first = Stem(stem.out[-1], stem.kernel, stem.stride)
    kinds = range(max(len(stage.block) for stage in stages))
    networks = [
        network_parts(in_channels, resolution, first, [_largest(stage, kind) for stage in stages], tail, classes)
        for kind in kinds
    ]
    for name, found in (("MACs", _most(networks, total_macs)), ("parameters", _most(networks, total_params))):
        if found > MOST_COUNTED:
            raise InputError(
                f"resolution: at {resolution} the space's largest network has {human(found, 'count')} {name}, above "
                f"the {human(MOST_COUNTED, 'count')} that are counted exactly; lower it, or the widths or depths"
            )


def _largest(stage: StageSpace, kind: int) -> Stage:
    """Return the largest stage whose blocks are of the `kind`-th kind offered, or the last one."""
    return Stage(
        block=stage.block[min(kind, len(stage.block) - 1)],
        out=stage.out[-1],
        width=max(stage.widths(stage.out[-1])),
        kernel=stage.kernel[-1],
        depth=stage.depth[-1],
        stride=stage.strides[0],
    )


def _most(networks: Sequence[Sequence[Part]], cost: Callable[[Sequence[Part]], Count]) -> int:
    """Return the sum over the parts of the most that they have of a cost in one of the networks."""
    rows = [[cost([part]) for part in parts] for parts in networks]
    return int(sum(max(part) for part in zip(*rows, strict=True)))
