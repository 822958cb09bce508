"""Random small problems that brute force can settle: spaces, objectives, latency tables and limits of every kind."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, prod
from random import Random
from typing import Any

import numpy as np

from deepmad.engine.program.budgets import Budget
from deepmad.engine.program.measures import BYTES_PER_ELEMENT
from deepmad.engine.program.problems import Problem
from deepmad.search_spaces.architectures import Stride, Tail
from deepmad.search_spaces.blocks import BLOCKS
from deepmad.search_spaces.choices import Rules, StageSpace, StemSpace, WidthRatio
from deepmad.search_spaces.spaces import Space
from deepmad.search_spaces.units import AtLeast
from tests.brute_force import Counted, count
from tests.catalogue import StairTable

LARGEST_SPACE = 100_000
INFEASIBLE_SHARE, EMPTY_SHARE = 0.13, 0.05
RHO_MARGIN = 1e-12
"""Relative room on a limit on rho: networks with the same layers in another order differ in the last bits."""
JUST_BELOW = 1 - 1e-6
FROM_BELOW = {"macs": 0.1, "params": 0.1, "activations": 0.5}
"""How often a limit is one from below, where it may be."""
STRIDES: tuple[Stride, ...] = (1, 2)
SIDES = ((1, 49), (128, 2_033))
"""Sides of small and of large pictures, about: those of large ones bring counts far above 2^31."""


@dataclass(frozen=True)
class Case:
    """A problem and all of its networks, counted."""

    problem: Problem
    counted: Counted

    @cached_property
    def values(self) -> np.ndarray[Any, Any]:
        """The objectives of the feasible networks, ascending."""
        found: np.ndarray[Any, Any] = self.counted.objectives[self.problem.objective]
        return np.sort(found[self.counted.feasible(self.problem)])

    @cached_property
    def optimum(self) -> float | None:
        """The largest objective of a feasible network, None where there is none."""
        return self.counted.best(self.problem)


def random_case(random: Random) -> Case:
    """Return a random problem of at most `LARGEST_SPACE` networks; about 15 % have no feasible one.

    The same state of `random` gives the same problem.
    """
    while True:
        free = _free_problem(random)
        counted = count(free)
        if len(counted) or random.random() < EMPTY_SHARE:  # rules alone may leave no network
            return Case(replace(free, budget=_budget(random, free, counted)), counted)


def _some(random: Random, values: Sequence[Any], most: int) -> tuple[Any, ...]:
    """Return one to `most` different values."""
    return tuple(random.sample(values, random.randint(1, most)))


def _widths(random: Random) -> Sequence[int]:
    """Return what widths are drawn from: multiples of 8, or any."""
    return range(8, 97, 8) if random.random() < 0.7 else range(1, 70)


def _stage(random: Random, stride: Stride, depths: Sequence[int]) -> StageSpace:
    inner: dict[str, Any] = (
        {"width": _some(random, _widths(random), 4)}
        if random.random() < 0.5
        else {"expansion": _some(random, (0.25, 0.5, 1, 2, 2.5, 3, 4, 6), 3)}
    )
    return StageSpace(
        block=_some(random, tuple(BLOCKS), 3),
        strides=(stride,),
        out=_some(random, _widths(random), 4),
        kernel=_some(random, (3, 5, 7), 2),
        depth=_some(random, depths, 4),
        **inner,
    )


def random_space(random: Random) -> Space:
    """Return a space of two or three stages, of any size."""
    strides = random.choices(STRIDES, k=random.randint(2, 3))
    stem = StemSpace(_some(random, _widths(random), 3), random.choice((3, 5)), random.choice(STRIDES))
    shallowest = random.choice((1, 1, 1, 2, 6))
    # Depths that may lie further apart force penalties above 1,024 times the largest entropy; CP-SAT holds them
    # there, so that its bound stays valid but never meets the optimum.
    depths = range(shallowest, shallowest + 5)
    shrinks = stem.stride * prod(strides)
    alpha = tuple(random.choice((0, 0.25, 1, 3, 8)) for _ in range(1 + strides.count(2)))
    return Space(
        name="random",
        resolution=shrinks * random.randint(*(-(-side // shrinks) for side in random.choice(SIDES))),
        stem=stem,
        stages=tuple(_stage(random, stride, depths) for stride in strides),
        in_channels=random.choice((1, 3)),
        tail=random.choice((None, Tail(random.randint(1, 200), random.choice((1, 3))))),
        classes=random.choice((0, 10, 100)),
        rules=Rules(
            random.random() < 0.5,
            random.choice((None, 1.5, 2, 4)),
            WidthRatio(random.choice((0, 0.1, 0.25)), random.choice((1, 2.5, inf))),
        ),
        alpha=alpha if any(alpha) else (1, *alpha[1:]),
        beta=random.choice((0, 0.1, 1, 10, 100)),
    )


def _free_problem(random: Random) -> Problem:
    """Return a problem without limits."""
    space, least = random_space(random), random.choice((1, 1_000, 5_000))
    while not least <= space.size() <= LARGEST_SPACE:
        space = random_space(random)
    batch = random.choice((1, 4))
    tables = [_table(random, batch) for _ in range(random.choice((1, 1, 2)))]
    return Problem(space, Budget(), tables, random.choice(("paper", "reference")))


def _table(random: Random, batch: int) -> StairTable:
    """Return the latency table of a random device; a layer may cost nothing but its work."""
    return StairTable(
        batch,
        random.choice(tuple(BYTES_PER_ELEMENT)),
        overhead_nanoseconds=random.randint(0, 100_000),
        group=random.choice((4, 8, 16, 24, 32)),
        layer_nanoseconds=random.choice((0, 100, 2_000)),
        macs_per_nanosecond=random.choice((1, 20, 500)),
    )


def _budget(random: Random, free: Problem, counted: Counted) -> Budget:
    """Return limits that networks in common just keep, one after the other, or that the last one rules out."""
    names = [name for name in counted.used if random.random() < 0.5]
    random.shuffle(names)
    infeasible = random.random() < INFEASIBLE_SHARE
    kept = np.ones(len(counted), dtype=bool)
    limits: dict[str, float] = {}
    senses = {name: "at least" if random.random() < FROM_BELOW.get(name, 0) else "at most" for name in names}
    for name in names:
        below = senses[name] == "at least"
        values = np.sort(counted.used[name][kept])[:: -1 if below else 1]
        if not len(values):
            limits[name] = 1e12 if below else 1.0
        elif infeasible and name == names[-1]:
            limits[name] = float(values[0]) * (2 - JUST_BELOW if below else JUST_BELOW)
        else:
            share = random.choices((0, random.random() ** 2, random.random()), (1, 3, 6))[0]
            limits[name] = float(values[int(share * (len(values) - 1))]) * (1 + RHO_MARGIN * (name == "rho"))
        kept &= counted.keeps(name, limits[name], senses[name])
    seconds = limits.get("latency_seconds")
    through = seconds is not None and random.random() < 0.3
    either = {name: AtLeast(limits[name]) if senses[name] == "at least" else limits[name] for name in limits}
    return Budget(
        macs=either.get("macs"),
        params=either.get("params"),
        activations=either.get("activations"),
        rho=limits.get("rho"),
        latency=None if through else seconds,
        throughput=free.batch / seconds if seconds and through else None,
        memory=limits.get("memory_bytes"),
    )
