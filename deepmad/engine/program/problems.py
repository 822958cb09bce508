"""The problem: which space, which limits, which objective."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepmad.engine.program.black_boxes import BlackBox
from deepmad.engine.program.budgets import Budget, Usage, limits_used
from deepmad.engine.program.entropy import entropy, scales
from deepmad.engine.program.latency import LatencyModel, slowest_seconds
from deepmad.engine.program.measures import BYTES_PER_ELEMENT, MEASURES, Limit
from deepmad.engine.program.objectives import MOST_PENALTY, OBJECTIVES, ObjectiveName, least_penalty, objective_value
from deepmad.search_spaces.architectures import Architecture
from deepmad.search_spaces.errors import InputError, shown, unknown
from deepmad.search_spaces.layers import Count, Part
from deepmad.search_spaces.ranges import check
from deepmad.search_spaces.spaces import Space
from deepmad.search_spaces.units import human

SMALL_SPACE = 1e9
"""Networks up to which CP-SAT may search a space to its end; above, it proves nothing worth having in minutes."""
MOST_NANOSECONDS = 2**53
"""No network's latency comes near this; from here on the doubles of the solvers do not hold every nanosecond."""


@dataclass(frozen=True)
class Problem:
    """Maximise an objective over the networks of a space within a budget.

    `table` is one latency table or several, whose devices all have to keep a limit on latency. `classes` and
    `resolution` default to the space's. `batch` and `precision` matter to a memory limit and are the table's
    where there is one (the widest precision of several). Raises `InputError` where the pieces do not fit.
    """

    space: Space
    budget: Budget
    table: LatencyModel | Sequence[LatencyModel] | None = None
    objective: ObjectiveName = "paper"
    classes: int | None = None
    resolution: int | None = None
    batch: int = 1
    precision: str = "fp32"

    def __post_init__(self) -> None:
        self._check_kinds()
        space = replace(
            self.space,
            classes=self.space.classes if self.classes is None else self.classes,
            resolution=self.space.resolution if self.resolution is None else self.resolution,
        )
        space.check_size()
        self._check_penalty(space)
        object.__setattr__(self, "space", space)
        for precision in [table.precision for table in self.tables] or [self.precision]:
            if precision not in tuple(BYTES_PER_ELEMENT):
                raise InputError(f"precision: {unknown(precision, BYTES_PER_ELEMENT)}")
        if self.tables:
            self._take_conditions()
        elif self.budget.latency_seconds(self.batch) is not None:
            raise InputError("latency: a limit on latency or throughput needs a latency table")

    def _check_kinds(self) -> None:
        """Raise `InputError` for what is no space, budget, objective or batch."""
        if not isinstance(self.space, Space):
            raise InputError(f"space: {shown(self.space)} is no Space; deepmad.space(NAME_OR_FILE) reads one")
        if not isinstance(self.budget, Budget):
            raise InputError(f"budget: {shown(self.budget)} is no Budget; Budget.of(space) gives the space's own")
        if self.objective not in OBJECTIVES:
            raise InputError(f"objective: {unknown(self.objective, OBJECTIVES)}")
        object.__setattr__(self, "batch", check("batch", self.batch))

    def _check_penalty(self, space: Space) -> None:
        """Raise `InputError` where the depths of every network are too uneven for its entropy to count."""
        depths = [stage.depth for stage in space.stages]
        penalty = least_penalty(self.objective, depths, space.stages[0].block[0], space.beta)
        if penalty > MOST_PENALTY:
            raise InputError(
                f"beta: the penalty on uneven depths is {penalty:.3g} at least, above {MOST_PENALTY:.0e}, and leaves "
                "nothing of the entropy; offer depths nearer to each other, lower beta, or take objective reference"
            )

    def _take_conditions(self) -> None:
        """Take batch and precision from the tables."""
        batches = sorted({table.batch for table in self.tables})
        if len(batches) > 1:
            raise InputError(f"table: the batches {batches[0]} and {batches[-1]} differ; take tables of one batch")
        widest = max((table.precision for table in self.tables), key=BYTES_PER_ELEMENT.__getitem__)
        object.__setattr__(self, "table", self.table if len(self.tables) == 1 else self.tables)
        object.__setattr__(self, "batch", batches[0])
        object.__setattr__(self, "precision", widest)

    def __repr__(self) -> str:
        limits = [
            f"{name} {'<=' if limit.sense == 'at most' else '>='} {human(limit.value, MEASURES[name].kind)}"
            for name, limit in self.limits().items()
        ]
        told = [f"space {self.space.name}, input {self.space.resolution}, {self.space.classes} classes", *limits]
        told += [box.name for box in self.black_boxes] + [f"{len(self.tables)} latency table(s)"] * bool(self.tables)
        return f"<Problem: {self.objective} objective, {', '.join(told)}>"

    @property
    def tables(self) -> tuple[LatencyModel, ...]:
        """The latency tables; none where nothing is asked of them."""
        if self.table is None:
            return ()
        return tuple(self.table) if isinstance(self.table, Sequence) else (self.table,)

    @property
    def small(self) -> bool:
        """Whether the space is small enough for CP-SAT to search it to its end."""
        return self.space.size() <= SMALL_SPACE

    @property
    def limit_nanoseconds(self) -> int | None:
        """The latency limit for one batch as whole nanoseconds: the largest that `usages` accepts.

        None where there is no limit, or one above every total, as one of 2^53 nanoseconds (104 days) or more is.
        """
        limit = self.budget.latency_seconds(self.batch)
        if limit is None or limit * 1e9 >= MOST_NANOSECONDS:
            return None
        nanoseconds = math.floor(limit * 1e9) + 1
        while nanoseconds / 1e9 > limit:
            nanoseconds -= 1
        return nanoseconds

    @property
    def limit_elements(self) -> int | None:
        """The memory limit as elements of one image's activations."""
        if self.budget.memory is None:
            return None
        return math.floor(self.budget.memory / (self.batch * BYTES_PER_ELEMENT[self.precision]))

    def predicted_seconds(self, network: Architecture) -> float:
        """Return the predicted seconds for one batch, on the slowest device. Raises `InputError` without a table."""
        if not self.tables:
            raise InputError("latency: a prediction needs a latency table")
        return float(slowest_seconds(network.parts(), self.tables))

    @property
    def black_boxes(self) -> tuple[BlackBox, ...]:
        """The limits that only a function knows; solvers cannot express them, and see a problem without them."""
        return self.budget.black_boxes

    def limits(self) -> dict[str, Limit]:
        """Return the limits in force under the names of the solution file, black boxes left out."""
        return self.budget.limits(self.batch)

    def used(self, parts: tuple[Part, ...]) -> Iterator[tuple[Limit, Count]]:
        """Yield every limit and its use as `limits_used` does, black boxes left out."""
        return limits_used(parts, self.budget, batch=self.batch, precision=self.precision, tables=self.tables)

    def usages(self, network: Architecture, called: Mapping[str, float] | None = None) -> dict[str, Usage]:
        """Return what `network` uses of every limit, recomputed from its layer records.

        What black boxes returned for it is not called for here but comes with `called`, by their names; those that
        are not in it are left out.
        """
        counted = {
            limit.name: Usage(limit.value, np.asarray(used).item(), limit.sense)
            for limit, used in self.used(network.parts())
        }
        known = called or {}
        return counted | {box.name: Usage(box.limit, known[box.name]) for box in self.black_boxes if box.name in known}

    def value(self, network: Architecture) -> float:
        """Return the objective of `network`, recomputed from its layer records."""
        found = scales(network.parts())
        return self.value_at(network, entropy(found, self.space.weights_for(len(found))))

    def value_at(self, network: Architecture, total: float) -> float:
        """Return the objective of `network`, whose entropy (sum alpha_i H_i) is `total`."""
        depths = [stage.depth for stage in network.stages]
        return float(objective_value(self.objective, total, depths, network.stages[0].block, self.space.beta))

    def broken(self, network: Architecture, called: Mapping[str, float] | None = None) -> list[str]:
        """Return, a sentence each, the rules and limits that `network` breaks; empty where it is feasible.

        Black boxes are judged by `called`, as in `usages`; one that is not in it is not known to be kept.
        """
        return self.broken_at(network, self.usages(network, called))

    def broken_at(self, network: Architecture, found: Mapping[str, Usage]) -> list[str]:
        """Return what `broken` does, for a network whose `usages` are `found`."""
        sides = {"at most": "above", "at least": "below"}
        limits = [
            f"{name} is {use.used:.10g}, {sides[use.sense]} {use.limit:.10g}"
            for name, use in found.items()
            if not use.kept
        ]
        unknown = [f"{box.name} is not known" for box in self.black_boxes if box.name not in found]
        return self.space.violations(network) + limits + unknown
