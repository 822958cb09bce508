"""One stage of the integer program: its choices, the space's rules for it, and what it adds to every cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.costs.records import Option, option_grid, options, stage_bodies, told
from deepmad.engine.solvers.cpsat.digits import ROOM, Expression, bounds, reduced, selected, split
from deepmad.engine.solvers.cpsat.expressions import Axis, Builder, Choice, Rounding
from deepmad.engine.solvers.cpsat.terms import Array, Terms, difference, in_units, maximum, minimum, on_grid
from deepmad.search_spaces.choices import Rules, StageSpace
from deepmad.search_spaces.layers import Body, Count
from deepmad.search_spaces.spaces import Space

ReadTerms = Callable[[Body], Terms]
"""How one cost is read from a body: a whole-numbered function of its widths."""


@dataclass(frozen=True)
class Total:
    """A whole-numbered amount in the program, with bounds that hold for every network of the space."""

    expression: Expression
    low: int
    high: int

    def __add__(self, other: "Total") -> "Total":
        return Total(self.expression + other.expression, self.low + other.low, self.high + other.high)


@dataclass(frozen=True)
class StageVariables:
    """The decisions of one stage. `agrees` is a literal, or a bool where it is known: c_in equals out.

    `bodies` are those of the opening block and of a later one, over all widths, for each of the `variants`.
    """

    name: str
    space: StageSpace
    variants: tuple[Option, ...]
    bodies: tuple[tuple[Body, Body], ...]
    choice: Choice
    c_in: Axis
    out: Axis
    width: Axis | None
    depths: Choice
    agrees: Expression

    @property
    def axes(self) -> list[Axis]:
        """The widths that a body's terms may depend on, in the order of the terms' axes."""
        return [self.c_in, self.out, *([self.width] if self.width else [])]

    @property
    def depth(self) -> Expression:
        """The number of blocks."""
        return sum(depth * literal for depth, literal in zip(self.space.depth, self.depths.literals, strict=True))

    def openings(self, *, agree: bool) -> list[Body]:
        """Return the variants' bodies that open the stage, where c_in equals out or where it does not."""
        return [told(opening, residual=agree) for opening, _ in self.bodies]


def stage_variables(builder: Builder, space: Space, index: int, c_in: Axis) -> StageVariables:
    """Return new variables for one stage: its variant, widths and depth."""
    name, stage = f"stages[{index}]", space.stages[index]
    offered = options(stage)
    read = [stage_bodies(space, index, option_grid(space, index, option)) for option in offered]
    bodies = tuple((opening, told(following, residual=True)) for opening, following in read)
    out = builder.axis(stage.out, f"{name}.out")
    width = builder.axis(stage.width, f"{name}.width") if stage.width else None
    choice = builder.choice(len(offered), f"{name}.variant")
    depths = builder.choice(len(stage.depth), f"{name}.depth")
    agrees: Expression = bool(np.isin(c_in.values, out.values).any())
    if agrees and (len(c_in.values) > 1 or len(out.values) > 1):
        agrees = builder.model.new_bool_var(f"{name}.agrees")
        builder.model.add(c_in.value == out.value).only_enforce_if(agrees)
        builder.model.add(c_in.value != out.value).only_enforce_if(~agrees)
    return StageVariables(name, stage, offered, bodies, choice, c_in, out, width, depths, agrees)


def add_rules(builder: Builder, stage: StageVariables, rules: Rules) -> None:
    """Add the space's rules: out between c_in and growth * c_in, width within its ratio to out."""
    model, out = builder.model, stage.out
    if rules.non_decreasing:
        model.add(out.value >= stage.c_in.value)
    if rules.growth is not None:
        most = np.floor(rules.growth * stage.c_in.values).astype(np.int64)
        model.add(out.value <= builder.lookup([stage.c_in], most, f"{stage.name}.growth"))
    if stage.width:
        least = np.ceil(rules.width_ratio.min * out.values).astype(np.int64)
        most = np.floor(np.minimum(rules.width_ratio.max * out.values, stage.width.values[-1])).astype(np.int64)
        model.add(stage.width.value >= builder.lookup([out], least, f"{stage.name}.narrowest"))
        model.add(stage.width.value <= builder.lookup([out], most, f"{stage.name}.widest"))


@dataclass(frozen=True)
class StageTerms:
    """A cost of the blocks of a stage, one `Terms` for each of its variants.

    `opening` is the block that opens the stage, `surplus` what it costs more where c_in equals out (nothing where
    that is known, or makes no difference), `following` each later block (nothing where there is none).
    """

    opening: list[Terms]
    surplus: list[Terms]
    following: list[Terms]

    @property
    def arrays(self) -> list[Array]:
        """All numbers of the cost."""
        return [array for terms in (*self.opening, *self.surplus, *self.following) for array in terms.values()]

    def in_units(self, unit: int) -> "StageTerms":
        """Return the cost in whole units that all its numbers are multiples of."""
        parts = (self.opening, self.surplus, self.following)
        return StageTerms(*([in_units(terms, unit) for terms in part] for part in parts))


def stage_terms(stage: StageVariables, read: ReadTerms) -> StageTerms:
    """Return a cost of the stage's blocks as functions of its widths."""
    opening = [read(body) for body in stage.openings(agree=stage.agrees is True)]
    surplus: list[Terms] = []
    if not isinstance(stage.agrees, bool):
        agreeing = [read(body) for body in stage.openings(agree=True)]
        surplus = [difference(terms, other) for terms, other in zip(agreeing, opening, strict=True)]
    following = [] if stage.space.depth[-1] == 1 else [read(body) for _, body in stage.bodies]
    return StageTerms(opening, surplus if any(surplus) else [], following)


def stage_total(
    builder: Builder,
    stage: StageVariables,
    terms: StageTerms,
    name: str,
    rounding: Rounding | None = None,
    limit: int | None = None,
) -> Total:
    """Return a cost of the stage: its opening block, and depth - 1 times a later block.

    `limit`, where given, caps the variables that hold it; `rounding` is as for `Builder.lookup`.
    """
    first = _opening_total(builder, stage, terms, name, rounding)
    if not terms.following:
        return first
    later = builder.chosen(stage.choice, stage.axes, terms.following, name, rounding)
    least, most = min(map(minimum, terms.following)), max(map(maximum, terms.following))
    fewest, repeats = stage.space.depth[0] - 1, stage.space.depth[-1] - 1
    low, high = fewest * least, repeats * most
    if isinstance(later, int):
        return first + Total(later * (stage.depth - 1), low, high)
    capped = high if limit is None else max(low, min(high, limit - first.low))
    total: Expression = 0
    for digit in split(builder.model, later, least, most, name, ROOM - repeats.bit_length()):
        cases = [
            (literal, (depth - 1) * digit.value)
            for depth, literal in zip(stage.space.depth, stage.depths.literals, strict=True)
        ]
        largest = min(repeats * digit.high, capped // digit.weight)
        total += digit.weight * selected(builder.model, cases, fewest * digit.low, largest, name)
    return first + Total(total, low, capped)


def end_total(builder: Builder, stem: Axis, out: Axis, terms: Terms, name: str) -> Total:
    """Return a cost of a part outside the stages."""
    axes = [stem, out]
    values = (builder.lookup([axes[axis] for axis in over], array, f"ends.{name}") for over, array in terms.items())
    return Total(sum(values), minimum(terms), maximum(terms))


def _opening_total(
    builder: Builder, stage: StageVariables, terms: StageTerms, name: str, rounding: Rounding | None
) -> Total:
    """Return a cost of the block that opens the stage, whose layers may depend on whether c_in equals out."""
    options = terms.opening
    first = builder.chosen(stage.choice, stage.axes, options, name, rounding)
    total = Total(first, min(map(minimum, options)), max(map(maximum, options)))
    if not terms.surplus:
        return total
    extra = builder.chosen(stage.choice, stage.axes, terms.surplus, name, rounding)
    least, most = min(0, *map(minimum, terms.surplus)), max(0, *map(maximum, terms.surplus))
    cases = [(stage.agrees, extra), (~stage.agrees, 0)]
    return total + Total(selected(builder.model, cases, least, most, name), least, most)


Limit = Callable[[int], Expression]
"""A limit in whole units of the given size, rounded down."""


def add_memory_limit(builder: Builder, stage: StageVariables, limit: Limit) -> None:
    """Keep the elements alive at every main-path layer of the stage's blocks, where present, within `limit`."""
    depths, shallow = stage.space.depth, stage.depths.literals[0]
    later: list[Expression] | None = [] if depths[0] > 1 else None if depths[-1] == 1 else [~shallow]
    for (opening, following), literal in zip(stage.bodies, stage.choice.literals, strict=True):
        for agree in (False, True):
            if isinstance(stage.agrees, bool) and stage.agrees is not agree:
                continue
            case = [] if isinstance(stage.agrees, bool) else [stage.agrees if agree else ~stage.agrees]
            keep_alive_within(builder, stage.axes, told(opening, residual=agree), limit, [literal, *case])
        if later is not None:
            keep_alive_within(builder, stage.axes, following, limit, [literal, *later])


def keep_alive_within(
    builder: Builder, axes: Sequence[Axis], body: Body, limit: Limit, literals: Sequence[Expression]
) -> None:
    """Keep the elements alive at every main-path layer of `body` within `limit` where all `literals` hold.

    The body's own count does the sum, with expressions of the program in the place of numbers. What is alive are
    whole maps, so that in units of a map's size all numbers are small.
    """

    def expression(count: Count) -> Expression:
        array = on_grid(count)
        over = [axis for axis, length in enumerate(array.shape) if length > 1]
        return builder.lookup([axes[axis] for axis in over], array.squeeze(), "alive")

    main = [replace(layer, inputs=expression(layer.inputs), outputs=expression(layer.outputs)) for layer in body.main]
    for alive in Body(tuple(main), int(body.residual)).live_elements() if main else ():
        amount, unit = reduced(alive)
        most = limit(unit)
        if not isinstance(most, int) or most < bounds(amount)[1]:
            builder.model.add(amount <= most).only_enforce_if(*literals)
