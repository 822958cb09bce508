"""Corners: where a network sits at an end of what its space offers, and the nearest choice inside.

An optimum in a corner says that the space, not the objective, decided there: a user may want to know what leaving it
costs, or to offer more.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from deepmad.engine.answers.fields import Flag, Number, Whole
from deepmad.engine.program.budgets import Usage
from deepmad.engine.program.measures import used_up
from deepmad.engine.program.objectives import ObjectiveName, depth_penalty
from deepmad.search_spaces.architectures import Architecture, Stage
from deepmad.search_spaces.choices import Rules, StageSpace
from deepmad.search_spaces.spaces import Space

CornerKind = Literal["kernel", "width ratio", "expansion", "depth", "rho", "depth variance"]
AT_LIMIT = 0.99
"""The share of the limit on rho from which on a network sits at it."""
HEAVY_PENALTY = 20.0
"""The paper's penalty on uneven depths from which on they are told: with beta 10 even depths pay 10."""


@dataclass(frozen=True)
class Leaving:
    """What leaving a corner costs: the problem solved again where nothing but `inside` is offered there.

    `stage` is the place of the stage, from 0; None where all are meant. `objective` is that of the best network found
    inside, `bound` one on all of them; `impossible`: there is none. `cost` is the interval that holds what leaving
    takes off the design's objective: at least what the bound allows, at most what was found; None is not known. Its
    ends are below 0 where a network inside is, or may be, better than a design that is not proven optimal.
    """

    stage: Whole | None
    inside: str
    objective: Number | None
    bound: Number | None
    impossible: Flag
    cost: tuple[Number | None, Number | None]


@dataclass(frozen=True)
class Corner:
    """An end of what the space offers at which a network sits.

    `values` are those of `stages` (places from 0), in their order: the kernel, width / out, expansion, or depth. A
    corner of the whole network has no stages, and one value: rho, or the variance of the depths. `words` say it.
    `leaving` tells what leaving costs, None where nobody asked.
    """

    kind: CornerKind
    stages: tuple[Whole, ...]
    values: tuple[Whole | Number, ...]
    words: str
    leaving: tuple[Leaving, ...] | None = None


@dataclass(frozen=True)
class Step:
    """The nearest way out of a corner: what is offered `inside`, of one stage or all (None), as a smaller space.

    `start` is the network with the step done; it may break a limit.
    """

    stage: int | None
    inside: str
    space: Space
    start: Architecture


def corners(
    space: Space, network: Architecture, usages: Mapping[str, Usage], objective: ObjectiveName
) -> tuple[Corner, ...]:
    """Return the corners of its space in which a network sits; `usages` tell whether rho is at its limit.

    A stage that offers one value only has no corner there.
    """
    rows = list(zip(space.stages, network.stages, strict=True))
    found = (
        _ends("kernel", "largest", [_end(choice.kernel, stage.kernel, -1) for choice, stage in rows]),
        _ends("width ratio", "least", [_least_ratio(space.rules, choice, stage) for choice, stage in rows]),
        _ends("expansion", "least", [_expansion_end(choice, stage, 0) for choice, stage in rows]),
        _ends("expansion", "largest", [_expansion_end(choice, stage, -1) for choice, stage in rows]),
        _ends("depth", "least", [_end(choice.depth, stage.depth, 0) for choice, stage in rows]),
        _rho(usages.get("rho")),
        _uneven(space, network, objective),
    )
    return tuple(corner for corner in found if corner is not None)


def steps(space: Space, network: Architecture, corner: Corner) -> Iterator[Step]:
    """Yield the nearest ways out of a corner: one a stage, or one for all where a rule of the whole space made it.

    There is none out of a limit on rho, which is explained as a limit, or out of the variance of depths.
    """
    if corner.kind == "width ratio":
        yield _wider(space, network, corner)
        return
    if corner.kind not in ("kernel", "expansion", "depth"):
        return
    for index, value in zip(corner.stages, corner.values, strict=True):
        choice = space.stages[index]
        rest = tuple(one for one in getattr(choice, corner.kind) if one != value)
        below = value > rest[-1]
        nearest = rest[-1] if below else rest[0]
        inside = f"{corner.kind} {'at most' if below else 'at least'} {nearest:g}"
        smaller = _changed(space.stages, index, **{corner.kind: rest})
        if corner.kind == "expansion":
            moved = {"width": choice.expanded(nearest, network.stages[index].out)}
        else:
            moved = {corner.kind: nearest}
        start = replace(network, stages=_changed(network.stages, index, **moved))
        yield Step(index, inside, replace(space, stages=smaller), start)


def _wider(space: Space, network: Architecture, corner: Corner) -> Step:
    """Return the step to the next larger ratio of width to out: the least ratio that the space's rule may ask for."""
    rules = space.rules
    ratios = [_ratios(rules, space.stages[index], network.stages[index])[1] for index in corner.stages]
    least = min(ratios)
    raised = replace(rules, width_ratio=replace(rules.width_ratio, min=math.nextafter(least, 0)))
    stages = tuple(
        stage if choice.width is None else replace(stage, width=_widened(raised, choice, stage))
        for choice, stage in zip(space.stages, network.stages, strict=True)
    )
    return Step(
        None, f"width / out at least {least:.4g}", replace(space, rules=raised), replace(network, stages=stages)
    )


def _widened(rules: Rules, choice: StageSpace, stage: Stage) -> int:
    """Return the width of a stage, or the least that rules allow with its out where it is below that."""
    allowed = [width for width in choice.widths(stage.out) if width >= rules.width_ratio.min * stage.out]
    return max(stage.width, allowed[0]) if allowed else stage.width


def _changed(stages: Sequence[Any], index: int, **values: Any) -> tuple[Any, ...]:
    """Return the stages with other values in one of them."""
    return (*stages[:index], replace(stages[index], **values), *stages[index + 1 :])


def _end(choices: Sequence[int], value: int, place: int) -> int | None:
    """Return the value where it is the first (0) or last (-1) of several choices; None elsewhere."""
    return value if len(choices) > 1 and value == choices[place] else None


def _ratios(rules: Rules, choice: StageSpace, stage: Stage) -> list[float]:
    """Return the ratios of width to out that the rules allow a stage with its out, least first."""
    ratio = rules.width_ratio
    widths = [width for width in choice.widths(stage.out) if ratio.min * stage.out <= width <= ratio.max * stage.out]
    return [width / stage.out for width in widths]


def _least_ratio(rules: Rules, choice: StageSpace, stage: Stage) -> float | None:
    """Return a stage's width / out where its width is a choice and no smaller one is allowed with its out."""
    ratios = [] if choice.width is None else _ratios(rules, choice, stage)
    return ratios[0] if len(ratios) > 1 and stage.width / stage.out == ratios[0] else None


def _expansion_end(choice: StageSpace, stage: Stage, place: int) -> float | None:
    """Return the first (0) or last (-1) expansion offered where the stage's width follows from it and no other does."""
    expansions = choice.expansion or ()
    fitting = [one for one in expansions if choice.expanded(one, stage.out) == stage.width]
    return expansions[place] if len(expansions) > 1 and fitting == [expansions[place]] else None


def _ends(kind: CornerKind, end: str, values: Sequence[float | None]) -> Corner | None:
    """Return the corner of all stages that have a value at an end; None where none has."""
    places = tuple(index for index, value in enumerate(values) if value is not None)
    kept = tuple(value for value in values if value is not None)
    if not kept:
        return None
    name = "width / out" if kind == "width ratio" else kind
    figures = " ".join(f"{value:.3g}" for value in kept)
    return Corner(kind, places, kept, f"{name} at its {end} in {_named(places, len(values))}: {figures}")


def _named(places: Sequence[int], stages: int) -> str:
    """Return stages in words, counted from 1."""
    numbers = [str(place + 1) for place in places]
    if len(numbers) == 1:
        return f"stage {numbers[0]}"
    if len(numbers) == stages:
        return "every stage"
    return f"stages {', '.join(numbers[:-1])} and {numbers[-1]}"


def _rho(usage: Usage | None) -> Corner | None:
    """Return the corner of a network at the limit on rho."""
    if usage is None or (share := used_up(usage.used, usage.limit, usage.sense)) < AT_LIMIT:
        return None
    return Corner("rho", (), (usage.used,), f"rho at its limit: {usage.used:.4g} of {usage.limit:g} ({share:.1%})")


def _uneven(space: Space, network: Architecture, objective: ObjectiveName) -> Corner | None:
    """Return the corner of a network whose depths vary so much that the paper's penalty on them is heavy."""
    depths = [stage.depth for stage in network.stages]
    penalty = float(depth_penalty("paper", depths, space.beta))
    if penalty <= HEAVY_PENALTY:
        return None
    mean = sum(depths) / len(depths)
    variance = sum((depth - mean) ** 2 for depth in depths) / len(depths)
    takes = "takes" if objective == "paper" else "would take"
    words = (
        f"depths of variance {variance:.4g}: {' '.join(map(str, depths))}; "
        f"the paper's penalty {takes} {penalty:,.4g} off the objective (beta {space.beta:g})"
    )
    return Corner("depth variance", (), (variance,), words)
